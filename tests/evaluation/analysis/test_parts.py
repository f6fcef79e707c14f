"""Curves, confusions, bins, calibration and worst images of sets counted by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.analysis.analysis import analyse
from detector.evaluation.analysis.bins import by_brightness, by_crowding, by_size
from detector.evaluation.analysis.calibration import calibration
from detector.evaluation.analysis.confusion import confusion_matrix
from detector.evaluation.analysis.matches import match
from detector.evaluation.analysis.per_class import per_class
from detector.evaluation.analysis.worst_images import worst_images

A, B, FAR = [10, 10, 40, 40], [100, 10, 40, 40], [10, 100, 40, 40]
NEAR_A = [30, 10, 40, 40]
"""IoU 1/3 with A."""
BESIDE_A = [20, 10, 40, 40]
"""Overlap 30·40 of 3200 − 1200: IoU 0.6 with A."""
BRIGHTNESS = {1: 10.0, 2: 200.0, 3: 90.0}
FILES = {number: f"{number}.jpg" for number in BRIGHTNESS}

EMPTY = [
    pytest.param([], [], id="nothing"),
    pytest.param([], [(1, 1, A, 0.9)], id="no objects"),
    pytest.param([(1, 1, A)], [], id="no boxes"),
    pytest.param([(1, 1, [0, 0, 90, 90], 1)], [(1, 1, A, 0.9)], id="only a crowd"),
]


@pytest.mark.parametrize(("objects", "boxes"), EMPTY)
def test_empty_sets_have_an_analysis_that_json_can_hold(make_evaluator, objects, boxes):
    found = analyse(make_evaluator(objects, boxes), 0.25, BRIGHTNESS, FILES)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["images"] == 3


def test_boxes_that_are_left_out_are_told(make_evaluator):
    evaluator = make_evaluator([(1, 1, A)], [(1, 9, A, 0.9)])
    assert analyse(evaluator, 0.25, BRIGHTNESS, FILES).notes == (
        "boxes of classes that the data lack, left out: 1",
    )


def test_per_class(make_matches):
    whole, cat, dog = per_class(
        make_matches([(1, 1, A), (1, 1, B)], [(1, 1, A, 0.9), (1, 1, FAR, 0.8), (1, 1, B, 0.3)]),
        0.5,
    )
    assert (cat.name, cat.objects, cat.boxes) == ("cat", 2, 3)
    # From 0.5 on: one of two boxes is right, one of two objects found: F1 1/2.
    assert (cat.chosen.precision, cat.chosen.recall, cat.chosen.f1) == (0.5, 0.5, 0.5)
    # F1 = 2·right / (boxes + objects): 2/3 from 0.9 on, 2/4 from 0.8 on, 4/5 from 0.3 on.
    assert cat.best.confidence == 0.3 and cat.best.f1 == pytest.approx(4 / 5)
    assert cat.precision[[0, 50, 85]].tolist() == pytest.approx([2 / 3, 1 / 2, 1])
    assert np.isnan(cat.precision[95]) and cat.recall[95] == 0 and cat.f1[95] == 0
    # AP50: precision 1 up to recall 1/2 (51 recalls), then 2/3.
    assert cat.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert cat.precision_by_recall.mean() == pytest.approx(cat.ap50)
    assert (dog.objects, dog.ap50, dog.best, dog.chosen.recall) == (0, -1.0, None, None)
    assert (whole.objects, whole.boxes, whole.ap50) == (2, 3, pytest.approx(cat.ap50))


def test_of_equal_scores_all_boxes_count(make_matches):
    # At 0.8 both boxes are kept: precision 1/2, F1 2/3; no confidence keeps only the right one.
    cat = per_class(make_matches([(1, 1, A)], [(1, 1, A, 0.8), (1, 1, FAR, 0.8)]), 0.8)[1]
    assert cat.best.precision == 0.5 and cat.best.f1 == pytest.approx(2 / 3)


def test_confusion(make_evaluator):
    evaluator = make_evaluator(
        [(1, 1, A), (1, 2, B), (2, 1, A)],
        [(1, 2, A, 0.9), (1, 2, BESIDE_A, 0.8), (2, 1, BESIDE_A, 0.7), (3, 1, A, 0.1)],
    )
    found = confusion_matrix(evaluator, 0.5, 0.25)
    # A dog on the cat of image 1, a second one there on nothing, the dog B missed, a cat found.
    assert found.counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert found.most_frequent() == [("cat", "dog", 1)]
    # At IoU 0.75 the box beside the cat of image 2 is on nothing; the last box reaches 0.05.
    assert confusion_matrix(evaluator, 0.75, 0.05).counts.tolist() == [
        [0, 1, 1],
        [0, 0, 1],
        [2, 1, 0],
    ]


def _rows(seed, count):
    rng = np.random.default_rng(seed)
    return [
        (
            *(int(v) for v in (rng.integers(1, 4), rng.integers(1, 3))),
            [int(v) for v in (*rng.integers(0, 60, 2), *rng.integers(20, 50, 2))],
            round(float(rng.random()), 2),
        )
        for _ in range(count)
    ]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), objects=st.integers(0, 10), boxes=st.integers(0, 20))
def test_each_row_of_the_confusion_matrix_adds_up_to_its_objects(
    make_evaluator, seed, objects, boxes
):
    truth = [(i, c, b) for i, c, b, _ in _rows(seed, objects)]
    evaluator = make_evaluator(truth, _rows(seed + 1, boxes))
    counts = confusion_matrix(evaluator, 0.5, 0.25).counts
    assert counts[:-1].sum(axis=1).tolist() == [sum(c == k for _, c, _ in truth) for k in (1, 2)]
    shown = sum(box["score"] >= 0.25 for box in evaluator.results)
    assert counts[:, :-1].sum() == shown


def test_bins_of_size_have_cocos_own_ap(make_matches):
    small, large = [0, 0, 20, 20], [40, 40, 120, 120]
    matches = make_matches([(1, 1, small), (1, 1, large), (2, 1, large)], [(1, 1, large, 0.9)])
    # Of the two large objects the first is found: 51 of 101 recalls; the small one is not.
    found = [(one.name, one.objects, one.ap) for one in by_size(matches)]
    assert found == [
        ("16 to 32 px", 1, 0.0),
        ("96 to 128 px", 2, pytest.approx(51 / 101)),
    ]
    summary = matches.evaluator.compute().summary
    assert (found[0][2], found[1][2]) == pytest.approx((summary["APs"], summary["APl"]))


def test_groups_of_images_have_cocos_own_ap(make_matches, make_evaluator):
    objects = [(1, 1, A), (2, 1, A), (2, 1, B), (3, 2, A)]
    boxes = [(1, 1, BESIDE_A, 0.9), (2, 1, A, 0.8), (3, 1, A, 0.7)]
    matches = make_matches(objects, boxes)
    # Three images in four groups, from dark to bright: images 1, 3 and 2.
    groups = by_brightness(matches, BRIGHTNESS)
    assert [one.name for one in groups] == ["10 to 10", "90 to 90", "200 to 200"]
    alone = [make_evaluator(objects, boxes, images=(i,)).compute().ap for i in (1, 3, 2)]
    assert [one.ap for one in groups] == pytest.approx(alone)
    crowding = by_crowding(matches)
    assert [(one.name, one.images, one.objects) for one in crowding] == [
        ("1", 2, 2),
        ("2 to 4", 1, 2),
    ]
    both = make_evaluator(objects, boxes, images=(1, 3)).compute()
    assert crowding[0].ap == pytest.approx(both.ap)


def test_calibration(make_matches):
    matches = make_matches(
        [(1, 1, A), (2, 1, A)],
        [(1, 1, A, 0.9), (1, 1, FAR, 0.94), (2, 1, A, 1.0), (3, 1, A, 0.05)],
    )
    found = calibration(matches, 0.25)
    last = found.ranges[-1]
    assert (last.boxes, last.score) == (3, pytest.approx((0.9 + 0.94 + 1) / 3))
    assert last.precision == pytest.approx(2 / 3)
    # |0.9467 − 0.6667| = 0.28 for three boxes, 0.05 for one.
    assert found.error == pytest.approx((3 * 0.28 + 0.05) / 4)
    assert found.shown_error == pytest.approx(0.28)
    assert found.ranges[5].score is None


def test_worst_images(make_matches):
    matches = make_matches(
        [(1, 1, A), (2, 1, A), (2, 1, B), (3, 1, A)],
        [
            (1, 1, BESIDE_A, 0.9),  # right, and lacks 0.75 − 0.6
            (2, 1, FAR, 0.5),
            (3, 1, FAR, 0.4),
            (3, 1, NEAR_A, 0.3),  # wrong, and lacks 0.75 − 1/3
            (3, 1, A, 0.2),  # below the confidence: the object counts as missed
        ],
    )
    worst = worst_images(matches, 0.25)
    rows = [(one.image_id, one.count, round(one.weight, 4)) for one in worst.false_positives]
    assert rows == [(3, 2, 0.7), (2, 1, 0.5)]
    assert [(one.image_id, one.count) for one in worst.missed] == [(2, 2), (3, 1)]
    assert [(one.image_id, one.count, round(one.weight, 4)) for one in worst.localisation] == [
        (3, 1, 0.4167),
        (1, 1, 0.15),
    ]


def test_a_misplaced_box_of_a_missed_object_is_badly_placed(make_matches):
    worst = worst_images(match(make_matches([(1, 1, A)], [(1, 1, NEAR_A, 0.9)]).evaluator), 0.25)
    (only,) = worst.localisation
    assert only.weight == pytest.approx(0.75 - 1 / 3)
