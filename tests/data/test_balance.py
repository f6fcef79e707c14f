"""Repeat-factor sampling."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.balance import epoch_length, repeat_counts, repeat_factors
from detector.structures.samples import Sample


def sample(*class_ids: int, crowd: bool = False) -> Sample:
    n = len(class_ids)
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32), (n, 1))
    return Sample(
        Path("a.png"), boxes, np.array(class_ids, np.int64), (8, 8), 1, crowd=np.full(n, crowd)
    )


def test_factors_by_hand() -> None:
    # Class 0 in 4 of 5 images, class 1 in 1 of 5; threshold 0.5: √(0.5 / 0.2) = 1.58
    samples = [sample(0, 0), sample(0, 1, 1), sample(0), sample(), sample(0)]
    root = math.sqrt(2.5)
    assert repeat_factors(samples, 0.5).tolist() == pytest.approx([1, root, 1, 1, 1])
    assert repeat_factors(samples, 0.0).tolist() == [1, 1, 1, 1, 1]
    assert repeat_factors([], 0.5).tolist() == []
    assert repeat_factors([sample(), sample()], 0.5).tolist() == [1, 1]


def test_a_crowd_is_no_object() -> None:
    assert repeat_factors([sample(0), sample(1, crowd=True), sample(0)], 1.0).tolist() == (
        pytest.approx([math.sqrt(1.5), 1, math.sqrt(1.5)])
    )


@given(st.lists(st.floats(1, 5), min_size=1, max_size=30), st.integers(0, 100))
def test_every_image_and_always_as_many(factors: list[float], seed: int) -> None:
    array = np.array(factors)
    counts = repeat_counts(array, np.random.default_rng(seed))
    assert counts.sum() == epoch_length(array) == math.ceil(round(sum(factors), 6))
    assert np.all(counts >= 1)
    scale = epoch_length(array) / sum(factors)
    assert np.all(np.abs(counts - array * scale) <= 1 + 1e-9)


def test_whole_factors_are_not_rounded() -> None:
    factors = np.array([1.0, 3.0, 2.0])
    for seed in range(5):
        assert repeat_counts(factors, np.random.default_rng(seed)).tolist() == [1, 3, 2]


def test_the_mean_count_is_the_factor() -> None:
    factors = np.array([1.0, 1.3, 2.75, 1.95])  # 7 in all
    rng = np.random.default_rng(0)
    mean = np.mean([repeat_counts(factors, rng) for _ in range(4000)], 0)
    assert mean.tolist() == pytest.approx(factors.tolist(), abs=0.03)
