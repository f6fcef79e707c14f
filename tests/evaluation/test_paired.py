"""Differences on the same resamples."""

import numpy as np
import pytest

from detector.evaluation.paired import Difference


def test_a_difference():
    """On 60 of 100 resamples 0.1 more, on 30 of them 0.1 less, on ten equal.

    Below 0.05 lie 40: Φ(−0.253). The percentiles are at Φ(−0.507 ∓ 1.96): 0.007 and 0.927.
    """
    first = np.full(100, 0.5)
    second = first + np.repeat([0.1, -0.1, 0], [60, 30, 10])
    found = Difference.between(0.5, 0.55, first, second)
    assert found.value == pytest.approx(0.05)
    assert (found.higher, found.lower, found.resamples) == (60, 30, 100)
    assert found.interval == pytest.approx((-0.1, 0.1))
    assert found.covers_zero
    assert not found.is_none


def test_a_difference_of_nothing_has_no_interval():
    values = np.array([0.25, 0.5])
    found = Difference.between(0.4, 0.4, values, values + 1e-15)
    assert found.to_dict() == {
        "value": 0,
        "interval": None,
        "higher": 0,
        "lower": 0,
        "resamples": 2,
    }
    assert found.is_none


def test_what_one_of_them_cannot_measure_is_left_out():
    first, second = np.array([0.5, -1, 0.5, -1]), np.array([0.75, 0.5, -1, -1])
    found = Difference.between(0.5, 0.75, first, second)
    assert (found.higher, found.lower, found.resamples) == (1, 0, 1)
    assert found.interval is None  # three of four resamples are missing
    assert Difference.between(-1, -1, first, second) == Difference(None, None, 0, 0, 0)


def test_an_interval_on_one_side():
    found = Difference.between(0.5, 0.6, np.full(100, 0.5), np.linspace(0.55, 0.65, 100))
    assert not found.covers_zero
    assert found.higher == 100
