"""Ranges of activations for 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

from detector.export.quantize.ranges import BINS, Histogram, clipped_range, range_before_silu, silu


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram(float(values.min(initial=0)), float(values.max(initial=0)))
    histogram.add(values.astype(np.float32))
    return histogram


def test_no_values_and_zeros_only():
    assert clipped_range(histogram_of(np.zeros(0)), 1e-4) == (0, 0)
    assert clipped_range(histogram_of(np.zeros(5)), 1e-4) == (0, 0)
    assert range_before_silu(histogram_of(np.zeros(5)), 1e-4) == (0, 0)


def test_counts():
    """Bins of width 2/2048 from −1: −1 is in the first, 0 in the middle, 1 in the last."""
    histogram = histogram_of(np.array([-1.0, 0.0, 0.0, 1.0]))
    assert np.flatnonzero(histogram.counts).tolist() == [0, BINS // 2, BINS - 1]
    assert histogram.counts.sum() == 4
    assert histogram.centres[[0, -1]] == pytest.approx([-1 + 1 / BINS, 1 - 1 / BINS])


def test_a_rare_value_is_clipped():
    """One of 20,000 values is 1000, a share of 5e-5 below the 1e-4 that may be clipped.

    The others are below 1, within the first three bins of width 1000/2048 ≈ 0.49.
    """
    values = np.append(np.linspace(0, 1, 19_999), 1000.0)
    low, high = clipped_range(histogram_of(values), 1e-4)
    assert low == 0
    assert 1 <= high <= 1 + 2 * 1000 / BINS
    # Among 5,000 values the share is 2e-4, and it stays.
    assert clipped_range(histogram_of(values[-5000:]), 1e-4) == (0, pytest.approx(1000))


def test_the_range_includes_zero():
    low, high = clipped_range(histogram_of(np.linspace(5, 6, 1000)), 1e-4)
    assert low == 0
    assert high == pytest.approx(6, abs=6 / BINS)


def test_before_silu_the_flat_part_is_clipped(rng: np.random.Generator):
    """Values down to −100 give almost 0 as those at −8 do: silu(−8) = −0.0027."""
    values = rng.uniform(-100, 4, 100_000)
    low, high = range_before_silu(histogram_of(values), 1e-4)
    assert -12 < low < -4
    assert high == pytest.approx(4, abs=0.1)
    assert clipped_range(histogram_of(values), 1e-4)[0] == pytest.approx(-100, abs=0.2)


def test_silu():
    assert silu(np.array([0.0, -8.0, 100.0])) == pytest.approx([0, -8 / (1 + np.e**8), 100])
