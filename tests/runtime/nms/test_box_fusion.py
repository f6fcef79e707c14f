"""Weighted boxes fusion: by hand, and against the definition in plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.nms.box_fusion import fuse_boxes
from detector.settings.nms import NmsSettings
from tests.runtime.nms.test_nms import A, B, C, random_boxes
from tests.runtime.nms.test_soft_nms import iou, run


def fused(boxes, scores, **options):
    return run(boxes, scores, nms_method="fusion", **options)


def test_no_box_at_all():
    assert fused([], np.zeros((0, 2))) == ([], [], [])


def test_two_boxes_become_their_mean():
    # IoU(a, b) = 1/3 > 0.3. x1 = (0.9 · 0 + 0.6 · 5) / 1.5 = 2, x2 = 12; score (0.9 + 0.6) / 2.
    boxes, scores, class_ids = fused([A, B], [[0.9], [0.6]], iou=0.3)
    assert boxes == [[2, 0, 12, 10]]
    assert scores == pytest.approx([0.75])
    assert class_ids == [0]


def test_a_box_joins_the_cluster_that_came_first_of_equal_ones():
    # c comes second, overlaps nothing, and begins a cluster; b overlaps a and c alike.
    boxes, scores, _ = fused([A, B, C], [[0.9], [0.6], [0.8]], iou=0.3)
    assert boxes == [C, [2, 0, 12, 10]]  # the mean of a and b scores 0.75 only
    assert scores == pytest.approx([0.8, 0.75])


def test_a_box_is_compared_with_the_mean_so_far():
    # The mean of a and b reaches from 2 to 12 and overlaps c by 2 of 18, where b did by 5 of 15.
    boxes, _, _ = fused([A, B, C], [[0.9], [0.6], [0.5]], iou=0.3)
    assert boxes == [[2, 0, 12, 10], C]


@pytest.mark.parametrize(("agnostic", "count"), [(False, 2), (True, 1)])
def test_classes_apart_or_not(agnostic, count):
    boxes, _, class_ids = fused([A, A], [[0.9, 0], [0, 0.8]], class_agnostic=agnostic)
    assert boxes == [A] * count
    assert class_ids == [0, 1][:count]  # of the best box


def test_scores_of_nothing_and_the_limit():
    assert fused([A, A], [[0.0], [0.0]], confidence=0) == ([A], [0], [0])
    assert fused([A, C], [[0.9], [0.8]], max_detections=1)[0] == [A]


def loop(boxes, scores, groups, options):
    """Section 3 step by step, over all groups together; lists of clusters as in the paper."""
    clusters, means = [], []
    for i, box in enumerate(boxes):
        best, best_overlap = None, options.iou
        for number, mean in enumerate(means):
            overlap = iou(box, mean) if groups[clusters[number][0]] == groups[i] else 0.0
            if overlap > best_overlap:
                best, best_overlap = number, overlap
        if best is None:
            clusters.append([i])
            means.append(box)
        else:
            members = clusters[best]
            members.append(i)
            weight = sum(scores[m] for m in members)
            means[best] = [sum(scores[m] * boxes[m][k] for m in members) / weight for k in range(4)]
    values = [sum(scores[m] for m in members) / len(members) for members in clusters]
    order = sorted(range(len(values)), key=lambda c: (-values[c], clusters[c][0]))
    order = order[: options.max_detections]
    return [means[c] for c in order], [values[c] for c in order], [clusters[c][0] for c in order]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 40),
    classes=st.integers(1, 3),
    options=st.builds(
        NmsSettings,
        iou=st.sampled_from([0.1, 0.3, 0.45, 0.55, 0.9]),
        max_detections=st.sampled_from([1, 10, 300]),
    ),
)
def test_fusion_is_the_definition(seed, count, classes, options):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count, 1000).astype(np.float64)
    scores = np.sort(rng.uniform(0.01, 1, count))[::-1]
    groups = rng.integers(0, classes, count)
    means, values, first = fuse_boxes(boxes, scores, groups, options)
    expected = loop(boxes.tolist(), scores.tolist(), groups, options)
    np.testing.assert_allclose(means, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(values, expected[1], rtol=0, atol=1e-6)
    assert first.tolist() == expected[2]
