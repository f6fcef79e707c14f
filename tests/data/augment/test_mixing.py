"""Mixup and copy-paste."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.data.augment.mixing import MAX_COVERED, copy_paste, hidden_part, mixup, whole_pixels
from detector.data.augment.transforms import Example

Box = tuple[float, float, float, float]


def example(level: int, *boxes: Box, first_class: int = 0) -> Example:
    boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    class_ids = first_class + np.arange(len(boxes))
    return Example(np.full((40, 60, 3), level, np.uint8), boxes_xyxy, class_ids)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mixup_by_hand() -> None:
    first, second = example(100, (0, 0, 10, 10)), example(200, (5, 5, 9, 9), first_class=3)
    found = mixup(first, second, rng(1))
    share = rng(1).beta(32, 32)
    assert 0.3 < share < 0.7
    assert np.all(found.image == round(100 * share + 200 * (1 - share)))
    assert found.boxes_xyxy.tolist() == [[0, 0, 10, 10], [5, 5, 9, 9]]
    assert found.class_ids.tolist() == [0, 3]
    assert np.all(first.image == 100)


def test_hidden_part_by_hand() -> None:
    # Of a 10×10 box a quarter lies below paste 1, and another quarter below paste 2.
    layers = np.zeros((20, 20), np.int32)
    layers[:5, :5], layers[5:10, 5:10] = 1, 2
    box = np.array([0, 0, 10, 10])
    assert [hidden_part(layers, box, layer) for layer in (0, 1, 2)] == [0.5, 0.25, 0]


def test_whole_pixels() -> None:
    assert whole_pixels(np.array([[0.5, 1, 9.1, 10]], np.float32)).tolist() == [[0, 1, 10, 10]]
    assert whole_pixels(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_pasted_box_brings_its_pixels() -> None:
    first, second = example(100, (0, 0, 10, 10)), example(200, (20.5, 10, 29.5, 20), first_class=3)
    found = copy_paste(first, second, rng())
    expected = first.image.copy()
    expected[10:20, 20:30] = 200  # whole pixels
    assert np.array_equal(found.image, expected)
    assert found.boxes_xyxy.tolist() == [[0, 0, 10, 10], [20.5, 10, 29.5, 20]]
    assert found.class_ids.tolist() == [0, 3]
    assert np.all(first.image == 100)


def test_what_would_be_hidden_stays() -> None:
    # The pasted box would cover 40 of 100 pixels.
    first, second = example(100, (0, 0, 10, 10)), example(200, (6, 0, 30, 20))
    found = copy_paste(first, second, rng())
    assert np.array_equal(found.image, first.image)
    assert len(found.class_ids) == 1
    # 30 of 100: at the limit
    second = example(200, (7, 0, 30, 20))
    assert len(copy_paste(first, second, rng()).class_ids) == 2


def test_pastes_are_added_up() -> None:
    # Sixteen boxes of 5×5 tile one of 20×20: each hides a sixteenth, four of them a quarter, and
    # five 0.3125, more than is allowed.
    tiles = [(x, y, x + 5, y + 5) for y in range(0, 20, 5) for x in range(0, 20, 5)]
    found = copy_paste(example(100, (0, 0, 20, 20)), example(200, *tiles, first_class=1), rng())
    assert len(found.class_ids) == 1 + 4
    assert (found.image[:20, :20] == 200).all(-1).sum() == 4 * 25


def test_nothing_to_paste() -> None:
    found = copy_paste(example(100), example(200), rng())
    assert np.all(found.image == 100)
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.class_ids.dtype == np.int64
    assert len(copy_paste(example(100), example(200, (0, 0, 60, 40)), rng()).class_ids) == 1


@given(st.integers(0, 500))
def test_every_box_stays_visible(seed: int) -> None:
    draw = rng(seed)
    corners = draw.uniform(0, 30, (12, 2))
    boxes = np.concatenate((corners, corners + draw.uniform(2, 15, (12, 2))), 1)
    boxes = boxes.clip(0, (60, 40, 60, 40))
    first, second = example(100, *boxes[:3]), example(200, *boxes[3:])
    found = copy_paste(first, second, draw).boxes_xyxy
    assert np.array_equal(found[:3], first.boxes_xyxy)
    for number, box_xyxy in enumerate(found):
        pixels = pixels_of(box_xyxy)
        above = set().union(*(pixels_of(box) for box in found[max(3, number + 1) :]))
        assert len(pixels & above) <= MAX_COVERED * len(pixels)


def pixels_of(box_xyxy: Sequence[float]) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box_xyxy
    rows, columns = range(floor(y1), ceil(y2)), range(floor(x1), ceil(x2))
    return {(row, column) for row in rows for column in columns}
