"""Areas and IoU in numpy, against values by hand and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.structures import boxes
from detector.structures.boxes_numpy import area, intersection_and_union, iou, pairwise_iou


def random_boxes(count: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (count, 2))
    size = rng.uniform(0, 50, (count, 2)) * rng.integers(0, 4, (count, 1))  # some without area
    return np.concatenate((corner, corner + size), 1).astype(dtype)


def test_area() -> None:
    assert area(np.zeros((0, 4))).shape == (0,)
    assert area(np.float64([[0, 0, 4, 5], [1, 1, 1, 9]])).tolist() == [20, 0]


@pytest.mark.parametrize(
    ("a", "b", "intersection", "union"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 100, 100),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0, 200),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0, 200),  # they touch
        ((0, 0, 10, 10), (5, 0, 15, 10), 50, 150),
        ((0, 0, 10, 10), (2, 2, 7, 7), 25, 100),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0, 0),  # both empty
    ],
)
def test_by_hand(a: tuple[int, ...], b: tuple[int, ...], intersection: float, union: float) -> None:
    one, other = np.float32(a), np.float32(b)
    found = intersection_and_union(one, other, area(one), area(other))
    assert [float(part) for part in found] == [intersection, union]
    assert iou(one, other) == pytest.approx(intersection / max(union, 1))
    assert iou(one, other).dtype == np.float32


@given(st.integers(0, 1000), st.sampled_from([np.float32, np.float64]))
def test_equal_to_torch_to_the_last_bit(seed: int, dtype: type) -> None:
    a, b = random_boxes(6, seed, dtype), random_boxes(4, seed + 1, dtype)
    expected = boxes.pairwise_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(pairwise_iou(a, b), expected)
    # The memory order changes nothing.
    np.testing.assert_array_equal(
        pairwise_iou(np.asfortranarray(a), np.asfortranarray(b)), expected
    )
    np.testing.assert_array_equal(iou(a[0], b), expected[0])


def test_of_none() -> None:
    none, some = np.zeros((0, 4)), random_boxes(3, 0)
    assert pairwise_iou(none, some).shape == (0, 3)
    assert pairwise_iou(some, none).shape == (3, 0)
    assert iou(none, none).shape == (0,)
