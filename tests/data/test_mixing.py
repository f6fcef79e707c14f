"""Two examples into one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.mixing import MAX_COVERED, copy_paste, covered, mixup
from detector.data.transforms import Example

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


def test_covered_by_hand() -> None:
    # 10×10 boxes: a quarter, nothing, all of it
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [6, 6, 8, 8]], np.float32)
    found = covered(boxes, np.array([5, 5, 15, 15], np.float32))
    assert found.tolist() == pytest.approx([0.25, 0, 1])
    assert covered(boxes[:0], boxes[0]).shape == (0,)


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
    for later in range(3, len(found)):
        assert covered(found[:later], found[later]).max() <= MAX_COVERED
