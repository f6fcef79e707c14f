"""Soft-NMS: by hand, and against the definition in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.nms.nms import nms
from detector.runtime.nms.soft_nms import soft_nms
from detector.settings.nms import NmsSettings
from tests.runtime.nms.test_nms import A, B, C, random_boxes


def run(boxes, scores, **options):
    found, values, class_ids = nms(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        NmsSettings(**options),
    )
    assert (found.dtype, values.dtype, class_ids.dtype) == (np.float32, np.float32, np.int64)
    return found.tolist(), values.tolist(), class_ids.tolist()


@pytest.mark.parametrize("nms_method", ["soft-linear", "soft-gaussian"])
def test_no_box_at_all(nms_method):
    assert run([], np.zeros((0, 2)), nms_method=nms_method) == ([], [], [])


def test_linear_by_hand():
    # IoU(a, b) = IoU(b, c) = 1/3, a and c apart. a stays at 0.9; b falls to 0.8 · 2/3 = 0.5333,
    # behind c; c, at 0.7, lowers b once more, to 0.3556.
    options = {"nms_method": "soft-linear", "iou": 0.3, "confidence": 0.3}
    boxes, scores, _ = run([A, B, C], [[0.9], [0.8], [0.7]], **options)
    assert boxes == [A, C, B]
    assert scores == pytest.approx([0.9, 0.7, 0.8 * 4 / 9])


def test_linear_leaves_small_overlaps_alone():
    options = {"nms_method": "soft-linear", "iou": 0.4}
    assert run([A, B], [[0.9], [0.8]], **options)[1] == pytest.approx([0.9, 0.8])


def test_gaussian_by_hand():
    # exp(−(1/3)² / 0.5) = 0.8007: b falls to 0.6406, behind c, which lowers it to 0.5129.
    options = {"nms_method": "soft-gaussian", "sigma": 0.5}
    boxes, scores, _ = run([A, B, C], [[0.9], [0.8], [0.7]], **options)
    assert boxes == [A, C, B]
    assert scores == pytest.approx([0.9, 0.7, 0.8 * math.exp(-2 / 9) ** 2])


@pytest.mark.parametrize(("agnostic", "second"), [(False, 0.8), (True, 0.8 * math.exp(-2))])
def test_classes_apart_or_not(agnostic, second):
    options = {"nms_method": "soft-gaussian", "class_agnostic": agnostic, "confidence": 0.1}
    _, scores, class_ids = run([A, A], [[0.9, 0], [0, 0.8]], **options)
    assert scores == pytest.approx([0.9, second])
    assert class_ids == [0, 1]


def test_what_falls_below_the_confidence_is_dropped_and_the_rest_is_limited():
    options = {"nms_method": "soft-gaussian", "confidence": 0.6}
    assert run([A, B, C], [[0.9], [0.7], [0.65]], **options)[0] == [A, C]
    assert run([A, B, C], [[0.9], [0.7], [0.65]], max_detections=1, **options)[0] == [A]


def test_a_score_equal_to_the_confidence_is_kept():
    assert run([A], [[0.7]], nms_method="soft-linear", confidence=0.7)[1] == pytest.approx([0.7])


def iou(one, other):
    """The definition, in Python's float64."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def loop(boxes, scores, groups, options):
    """Figure 2 of the paper, one pair at a time, over all groups together."""
    left = {i: float(score) for i, score in enumerate(scores)}
    found = []
    while left and len(found) < options.max_detections:
        best = max(left, key=lambda i: (left[i], -i))
        if left[best] < np.float32(options.confidence):
            break
        found.append((best, left.pop(best)))
        for i in left:
            overlap = iou(boxes[best], boxes[i]) if groups[i] == groups[best] else 0.0
            if options.nms_method == "soft-gaussian":
                left[i] *= math.exp(-(overlap**2) / options.sigma)
            elif overlap >= options.iou:
                left[i] *= 1 - overlap
    return [i for i, _ in found], [score for _, score in found]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 30),
    classes=st.integers(1, 3),
    options=st.builds(
        NmsSettings,
        nms_method=st.sampled_from(["soft-linear", "soft-gaussian"]),
        confidence=st.sampled_from([0.0, 0.1, 0.3]),
        iou=st.sampled_from([0.0, 0.3, 0.45, 0.7]),
        sigma=st.sampled_from([0.1, 0.5, 2.0]),
        max_detections=st.sampled_from([1, 10, 300]),
    ),
)
def test_soft_nms_is_the_definition(seed, count, classes, options):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count, 1000).astype(np.float64)
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1]
    groups = rng.integers(0, classes, count)
    kept, lowered = soft_nms(boxes, scores, groups, options)
    expected, expected_scores = loop(boxes.tolist(), scores.tolist(), groups, options)
    assert kept.tolist() == expected
    np.testing.assert_allclose(lowered, expected_scores, rtol=0, atol=1e-6)
