"""NMS in numpy: hand-computed cases, the order, the limits, equality with torchvision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.nms.nms import best_first, first_of_each, greedy_nms, nms
from detector.settings.nms import NmsSettings

# Three boxes in a row. IoU(a, b) = 50 / (100 + 100 - 50) = 1/3; b and c the same; a and c apart.
A, B, C = [0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]


def run(boxes, scores, **options):
    found, values, class_ids = nms(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        NmsSettings(**options),
    )
    assert found.dtype == np.float32 and values.dtype == np.float32 and class_ids.dtype == np.int64
    return found.tolist(), values.tolist(), class_ids.tolist()


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_no_box_at_all(multi_label, classes):
    assert run([], np.zeros((0, classes)), multi_label=multi_label) == ([], [], [])


def test_no_box_reaches_the_confidence():
    assert run([A, B], [[0.2], [0.1]]) == ([], [], [])


def test_a_score_equal_to_the_confidence_is_kept():
    assert run([A], [[0.3]], confidence=0.3)[1] == pytest.approx([0.3])


def test_a_removed_box_removes_no_other():
    # b falls to a (1/3 > 0.3); c overlaps only b, which is gone, so c stays.
    boxes, scores, _ = run([A, B, C], [[0.9], [0.8], [0.7]], iou=0.3)
    assert boxes == [A, C]
    assert scores == pytest.approx([0.9, 0.7])


def test_an_overlap_equal_to_the_threshold_is_kept():
    # IoU([0,0,10,10], [0,0,10,5]) = 50 / (100 + 50 - 50) = 0.5, exact in binary.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert len(run(boxes, [[0.9], [0.8]], iou=0.5)[0]) == 2
    assert len(run(boxes, [[0.9], [0.8]], iou=0.499)[0]) == 1


def test_the_threshold_is_rounded_to_float32():
    # IoU = 60 / 100 is 0.60000002 in float32: more than 0.6 in float64, equal to it in float32.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 6]]
    assert len(run(boxes, [[0.9], [0.8]], iou=0.6)[0]) == 2


@pytest.mark.parametrize(("agnostic", "kept"), [(False, 2), (True, 1)])
def test_boxes_of_another_class_are_removed_only_when_agnostic(agnostic, kept):
    assert len(run([A, A], [[0.9, 0], [0, 0.8]], class_agnostic=agnostic)[0]) == kept


def test_one_or_several_labels_a_box():
    scores = [[0.6, 0.7, 0.1]]
    assert run([A], scores)[2] == [1]
    assert run([A], scores, multi_label=True)[2] == [1, 0]


def test_single_label_takes_the_lower_of_two_equal_classes():
    assert run([A], [[0.1, 0.6, 0.6]])[2] == [1]


@pytest.mark.parametrize("multi_label", [False, True])
def test_classes_filters_what_would_have_come_out(multi_label):
    # Single-label: the second box's best class is 0, so it is no box of class 1.
    scores = [[0.1, 0.9], [0.8, 0.7]]
    found = run([A, C], scores, classes=(1,), multi_label=multi_label)
    assert found[2] == ([1, 1] if multi_label else [1])


def test_equal_scores_come_in_the_order_of_boxes_then_classes():
    boxes, _, class_ids = run([C, A], [[0.5, 0.5], [0.5, 0.5]], multi_label=True)
    assert boxes == [C, C, A, A]
    assert class_ids == [0, 1, 0, 1]


def test_max_detections_and_candidates():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(6)]
    scores = [[0.3], [0.8], [0.5], [0.8], [0.9], [0.4]]
    assert run(boxes, scores, max_detections=3)[1] == pytest.approx([0.9, 0.8, 0.8])
    # Two candidates enter, and of the two equal ones the first.
    assert run(boxes, scores, candidates=2)[0] == [boxes[4], boxes[1]]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_no_box_among_the_first_of_each_class(multi_label, classes):
    options = {"multi_label": multi_label, "class_candidates": 2}
    assert run([], np.zeros((0, classes)), **options) == ([], [], [])
    assert run([A], np.zeros((1, classes)), **options) == ([], [], [])


def test_candidates_of_each_class_are_selected_before_nms():
    # Of class 0, a and b enter, and b falls to a; c, which nobody overlaps, came third.
    scores = [[0.9, 0], [0.8, 0], [0.7, 0.6]]
    options = {"iou": 0.3, "multi_label": True}
    assert run([A, B, C], scores, **options)[0] == [A, C, C]
    boxes, values, class_ids = run([A, B, C], scores, class_candidates=2, **options)
    assert (boxes, class_ids) == ([A, C], [0, 1])
    assert values == pytest.approx([0.9, 0.6])


def test_the_candidates_of_all_classes_are_taken_first():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(4)]
    scores = [[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.6]]
    # The fourth is the best of class 1, but only three go on to that question.
    assert run(boxes, scores, candidates=3, class_candidates=1)[0] == boxes[:1]
    assert run(boxes, scores, candidates=4, class_candidates=1)[0] == [boxes[0], boxes[3]]


def test_candidates_are_counted_by_class_even_when_agnostic():
    # a and b are the first of their classes and b falls to a; c is the second of class 0.
    scores = [[0.9, 0], [0, 0.8], [0.85, 0]]
    options = {"iou": 0.3, "class_agnostic": True}
    assert run([A, B, C], scores, **options)[0] == [A, C]
    assert run([A, B, C], scores, class_candidates=1, **options)[0] == [A]


def test_of_equal_scores_the_first_box_enters():
    assert run([C, A], [[0.5], [0.5]], class_candidates=1)[0] == [C]


def test_nms_sees_candidates_beyond_the_first_look():
    # 40 copies of one box precede the only other box.
    boxes = [A] * 40 + [C]
    scores = [[0.9]] * 40 + [[0.8]]
    assert run(boxes, scores, max_detections=2)[0] == [A, C]


def test_boxes_without_area_are_kept_without_a_warning():
    with np.errstate(all="raise"):
        assert len(run([[1, 1, 1, 1], [1, 1, 1, 1]], [[0.9], [0.8]])[0]) == 2


def test_nan_scores_are_no_candidates():
    nan = float("nan")
    assert run([A, C], [[nan, nan], [0.5, 0.1]])[0] == [C]
    assert run([A, C], [[nan, 0.9], [0.5, 0.1]], multi_label=True)[1] == pytest.approx([0.9, 0.5])


def test_arguments_stay_as_they_are():
    boxes = np.array([C, A, B], np.float32)
    scores = np.array([[0.7], [0.9], [0.8]], np.float32)
    before = boxes.copy(), scores.copy()
    result = nms(boxes, scores, NmsSettings())
    result[0][:] = -1
    result[1][:] = -1
    assert np.array_equal(boxes, before[0])
    assert np.array_equal(scores, before[1])


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 1.0]), max_size=40),
    st.integers(min_value=1, max_value=45),
)
def test_best_first_is_a_stable_sort(values, count):
    scores = np.array(values, np.float32)
    expected = sorted(range(len(values)), key=lambda i: (-scores[i], i))[:count]
    assert best_first(scores, count).tolist() == expected


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 12))
def test_first_of_each_counts_up(class_ids, count):
    seen, expected = dict.fromkeys(range(5), 0), []
    for index, class_id in enumerate(class_ids):
        if seen[class_id] < count:
            expected.append(index)
        seen[class_id] += 1
    assert first_of_each(np.array(class_ids, np.int64), count).tolist() == expected


def loop(boxes_xyxy, groups, iou, limit):
    """The definition, one pair at a time."""
    kept: list[int] = []
    for i, box in enumerate(boxes_xyxy):
        overlaps = []
        for j in kept:
            other = boxes_xyxy[j]
            width = max(np.float32(0), min(box[2], other[2]) - max(box[0], other[0]))
            height = max(np.float32(0), min(box[3], other[3]) - max(box[1], other[1]))
            inter = width * height
            area = (box[2] - box[0]) * (box[3] - box[1])
            other_area = (other[2] - other[0]) * (other[3] - other[1])
            same = groups[i] == groups[j]
            overlaps.append(same and inter / (other_area + area - inter) > np.float32(iou))
        if not any(overlaps):
            kept.append(i)
    return kept[:limit]


def random_boxes(rng, count, grid):
    """Boxes on a grid: many equal corners, areas and overlaps."""
    corner = rng.integers(0, 8 * grid, (count, 2)) / grid
    return np.concatenate(
        [corner, corner + rng.integers(1, 6 * grid, (count, 2)) / grid], 1
    ).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 60),
    classes=st.integers(1, 4),
    iou=st.sampled_from([0.0, 0.25, 1 / 3, 0.45, 0.5, 0.7, 1.0]),
    limit=st.integers(1, 20),
    grid=st.sampled_from([1, 3, 1000]),
)
def test_greedy_nms_is_the_definition(seed, count, classes, iou, limit, grid):
    rng = np.random.default_rng(seed)
    boxes, groups = random_boxes(rng, count, grid), rng.integers(0, classes, count)
    assert greedy_nms(boxes, groups, iou, limit).tolist() == loop(boxes, groups, iou, limit)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 40),
    classes=st.integers(1, 4),
    class_candidates=st.sampled_from([1, 2, 5, 400]),
    limit=st.integers(1, 20),
    levels=st.sampled_from([3, 100_000]),
)
def test_class_candidates_are_the_definition(seed, count, classes, class_candidates, limit, levels):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count, 1)
    scores = (rng.integers(0, levels + 1, (count, classes)) / levels).astype(np.float32)
    options = {"confidence": 0.3, "iou": 0.45, "max_detections": limit, "multi_label": True}

    pairs = [(i, c) for i in range(count) for c in range(classes) if scores[i, c] >= 0.3]
    entering, entered = [], [0] * classes
    for i, c in sorted(pairs, key=lambda pair: -scores[pair]):
        if entered[c] < class_candidates:
            entering.append((i, c))
        entered[c] += 1
    kept = loop([boxes[i] for i, _ in entering], [c for _, c in entering], 0.45, limit)

    found = run(boxes, scores, class_candidates=class_candidates, **options)
    assert found[0] == [boxes[entering[k][0]].tolist() for k in kept]
    assert found[1] == [scores[entering[k]] for k in kept]
    assert found[2] == [entering[k][1] for k in kept]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 5),
    iou=st.sampled_from([0.25, 1 / 3, 0.45, 0.5, 0.6]),
    grid=st.sampled_from([1, 3, 1000]),
    levels=st.sampled_from([3, 100_000]),
)
def test_equals_torchvision_per_class(seed, classes, iou, grid, levels):
    """The same boxes in the same order, to the last bit; few levels of score make many ties."""
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 300, grid)
    scores = (rng.integers(1, levels + 1, (300, classes)) / levels).astype(np.float32)
    options = NmsSettings(confidence=0, iou=iou, multi_label=True, max_detections=10_000)

    found = []
    for class_id in range(classes):
        column = torch.from_numpy(scores[:, class_id].copy())
        keep = ops.nms(torch.from_numpy(boxes), column, float(np.float32(iou))).tolist()
        found += [(-scores[i, class_id], i, class_id) for i in keep]
    found.sort()

    kept_boxes, kept_scores, class_ids = nms(boxes, scores, options)
    assert kept_scores.tolist() == [-score for score, _, _ in found]
    assert class_ids.tolist() == [class_id for _, _, class_id in found]
    assert np.array_equal(kept_boxes, boxes[[i for _, i, _ in found]])
