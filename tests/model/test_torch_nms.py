"""NMS by torchvision equals NMS in numpy bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.model import torch_backend
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings


def both(boxes, scores, options):
    """Return the result of both implementations, after checking that they are equal."""
    expected = nms(boxes, scores, options)
    found = torch_backend.torch_nms(boxes, scores, options)
    assert [part.dtype for part in found] == [np.float32, np.float32, np.int64]
    for name, one, other in zip(("boxes", "scores", "class_ids"), expected, found, strict=True):
        assert np.array_equal(one, other), name
    return found


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("classes", [None, (0,)])
@pytest.mark.parametrize("class_candidates", [None, 2])
def test_no_box_at_all(multi_label, classes, class_candidates):
    options = NmsSettings(
        multi_label=multi_label, classes=classes, class_candidates=class_candidates
    )
    both(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32), options)
    both(np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32), options)


def test_boxes_without_area_and_nan_scores():
    boxes = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 4, 4]], np.float32)
    scores = np.array([[0.9, 0.1], [0.8, 0.9], [np.nan, 0.9]], np.float32)
    for multi_label in (False, True):
        both(boxes, scores, NmsSettings(multi_label=multi_label))


def test_candidates_of_each_class_by_hand():
    # In a row, IoU of neighbours 50 / 150. Of class 0 the first two enter and the second falls
    # to the first; the third box enters as one of class 1 only.
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]], np.float32)
    scores = np.array([[0.9, 0], [0.8, 0], [0.7, 0.6]], np.float32)
    options = NmsSettings(iou=0.3, multi_label=True, class_candidates=2)
    found = both(boxes, scores, options)
    assert found[0].tolist() == boxes[[0, 2]].tolist()
    assert found[2].tolist() == [0, 1]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 400),
    classes=st.integers(1, 5),
    grid=st.sampled_from([1, 3, 1000]),
    levels=st.sampled_from([3, 100_000]),
    options=st.builds(
        NmsSettings,
        confidence=st.sampled_from([0.0, 0.001, 1 / 3, 0.7]),
        iou=st.sampled_from([0.0, 0.25, 1 / 3, 0.45, 0.5, 0.6, 1.0]),
        max_detections=st.sampled_from([1, 10, 300, 10_000]),
        multi_label=st.booleans(),
        classes=st.sampled_from([None, (0,), (0, 2)]),
        candidates=st.sampled_from([1, 50, 30_000]),
        class_agnostic=st.booleans(),
        nms_method=st.sampled_from(["nms", "nms", "soft-gaussian", "fusion"]),
        class_candidates=st.sampled_from([None, 1, 10, 400]),
    ),
)
def test_equals_numpy_on_random_boxes(seed, count, classes, grid, levels, options):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 8 * grid, (count, 2)) / grid
    size = rng.integers(1, 6 * grid, (count, 2)) / grid
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    scores = (rng.integers(0, levels + 1, (count, classes)) / levels).astype(np.float32)
    both(boxes, scores, options)
