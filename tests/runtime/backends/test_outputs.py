"""What a network gave: numbers of the right shape, or one line about the first that are not."""

from __future__ import annotations

import numpy as np
import pytest

from detector.runtime.backends.backend import OUTPUTS, OUTPUTS_AFTER_NMS
from detector.runtime.backends.outputs import validate_outputs
from detector.utils.errors import DetectorError

BOXES, SCORES = np.zeros((2, 3, 4)), np.zeros((2, 3, 5), np.float16)
ROWS = np.zeros((2, 3), np.float32)
CLASS_IDS = np.array([[-1, 0, 4]] * 2, np.int32)


def test_types():
    boxes, scores = validate_outputs([BOXES, SCORES], OUTPUTS["detect"], 2, 5)
    assert boxes.dtype == scores.dtype == np.float32
    *_, class_ids = validate_outputs([BOXES, ROWS, CLASS_IDS], OUTPUTS_AFTER_NMS, 2, 5)
    assert class_ids.dtype == np.int64
    assert class_ids.tolist() == CLASS_IDS.tolist()
    empty = validate_outputs([BOXES[:, :0], SCORES[:, :0]], OUTPUTS["detect"], 2, 5)
    assert [one.shape for one in empty] == [(2, 0, 4), (2, 0, 5)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "gives 0 outputs, expected 3"),
        ([BOXES[:1], ROWS, CLASS_IDS], "'boxes_xyxy' has shape (1, 3, 4), expected (2, 3, 4)"),
        ([np.zeros((2, 3, 5)), ROWS, CLASS_IDS], "'boxes_xyxy' has shape (2, 3, 5), expected "
         "(2, 3, 4)"),
        ([BOXES[0], ROWS, CLASS_IDS], "'boxes_xyxy' has shape (3, 4), expected (2, detections, 4)"),
        ([BOXES, ROWS[:, :2], CLASS_IDS], "'scores' has shape (2, 2), expected (2, 3)"),
        ([BOXES, CLASS_IDS, CLASS_IDS], "'scores' is of type int32, expected float32"),
        ([BOXES, ROWS, ROWS], "'class_ids' is of type float32, expected int64"),
        ([BOXES, ROWS, CLASS_IDS + 1], "'class_ids' are 0 to 5, expected -1 to 4"),
        ([BOXES, ROWS, CLASS_IDS - 1], "'class_ids' are -2 to 3, expected -1 to 4"),
        ([BOXES, ROWS + np.inf, CLASS_IDS], "'scores' has a value that is not finite"),
        ([BOXES - np.inf, ROWS, CLASS_IDS], "'boxes_xyxy' has a value that is not finite"),
    ],
)  # fmt: skip
def test_outputs_that_are_none(arrays: list[np.ndarray], message: str):
    with pytest.raises(DetectorError) as caught:
        validate_outputs(arrays, OUTPUTS_AFTER_NMS, 2, 5)
    assert str(caught.value) == message


RAW = {"level_0": ("batch", 6, "h0", "w0"), "level_1": ("batch", 8, "h1", "w1")}


def test_maps_of_levels():
    maps = [np.zeros((2, 6, 4, 8), np.float16), np.zeros((2, 8, 2, 4))]
    found = validate_outputs(maps, RAW, 2, 1)
    assert [(one.shape, one.dtype) for one in found] == [
        ((2, 6, 4, 8), np.float32),
        ((2, 8, 2, 4), np.float32),
    ]
    with pytest.raises(DetectorError) as caught:
        validate_outputs([maps[0], maps[0]], RAW, 2, 1)
    assert str(caught.value) == "'level_1' has shape (2, 6, 4, 8), expected (2, 8, 4, 8)"


def test_large_numbers_are_finite():
    """Their sum is not."""
    large = np.full((2, 3, 5), np.finfo(np.float32).max)
    _, scores = validate_outputs([BOXES, large], OUTPUTS["detect"], 2, 5)
    assert np.array_equal(scores, large)


def test_a_nan_among_numbers():
    scores = SCORES.copy()
    scores[1, 2, 3] = np.nan
    with pytest.raises(DetectorError, match="^'scores' has a value that is not finite$"):
        validate_outputs([BOXES, scores], OUTPUTS["detect"], 2, 5)
