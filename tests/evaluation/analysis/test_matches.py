"""Matches are pycocotools' own; overlaps are of each box's own class and of others."""

import numpy as np
import pytest

from detector.evaluation.analysis.matches import NONE

A, B = [10, 10, 40, 40], [100, 10, 40, 40]


def test_nothing_at_all(make_matches):
    matches = make_matches([], [])
    assert len(matches.objects) == len(matches.boxes) == 0
    assert matches.names == ("cat", "dog") and matches.image_ids == (1, 2, 3)
    assert all(len(overlap.iou) == 0 for overlap in matches.overlaps)


@pytest.mark.parametrize("none", ["objects", "boxes"])
def test_one_side_is_empty(make_matches, none):
    objects = [] if none == "objects" else [(2, 1, A)]
    boxes = [] if none == "boxes" else [(2, 1, A, 0.5)]
    matches = make_matches(objects, boxes)
    assert matches.objects.missed.tolist() == [True] * len(objects)
    assert matches.boxes.wrong.tolist() == [True] * len(boxes)
    assert [overlap.object.tolist() for overlap in matches.overlaps] == [[NONE] * len(boxes)] * 2


def test_boxes_are_ordered_by_image_and_score_and_know_their_objects(make_matches):
    matches = make_matches(
        [(3, 2, A), (1, 1, A), (1, 2, B)],
        [(3, 2, A, 0.4), (1, 2, B, 0.3), (1, 1, A, 0.8), (1, 1, A, 0.9)],
    )
    objects, boxes = matches.objects, matches.boxes
    assert (objects.image.tolist(), objects.class_id.tolist()) == ([0, 0, 2], [0, 1, 1])
    assert boxes.scores.tolist() == [0.9, 0.8, 0.3, 0.4]
    assert boxes.object.tolist() == [0, NONE, 1, 2]  # the second best box of A finds nothing
    assert objects.box.tolist() == [0, 2, 3]
    assert boxes.wrong.tolist() == [False, True, False, False]


def test_boxes_on_a_crowd_are_neither_right_nor_wrong(make_matches):
    matches = make_matches([(1, 1, [0, 0, 100, 100], 1)], [(1, 1, A, 0.9)])
    assert matches.objects.ignored.all() and not matches.objects.missed.any()
    assert not matches.boxes.right.any() and not matches.boxes.wrong.any()
    assert matches.overlaps[0].object.tolist() == [NONE]  # crowds are left out


def test_boxes_of_a_class_that_the_data_lack_are_left_out(make_evaluator, make_matches):
    boxes = [(1, 3, A, 0.9), (1, 1, A, 0.8)]
    assert len(make_matches([(1, 1, A)], boxes).boxes) == 1
    assert make_evaluator([(1, 1, A)], boxes).boxes_of_other_classes() == 1


def test_overlaps(make_matches):
    # [30, 10, 40, 40] and A: 20·40 of 1600 + 1600 − 800: 1/3; and itself: 1
    moved = [30, 10, 40, 40]
    matches = make_matches([(1, 1, A), (1, 2, moved), (2, 1, A)], [(1, 1, moved, 0.9)])
    own, other = matches.overlaps
    assert own.iou == pytest.approx([1 / 3]) and own.object.tolist() == [0]
    assert other.iou == pytest.approx([1.0]) and other.object.tolist() == [1]


def test_places_are_right_whatever_the_order_of_ids(make_matches, rng):
    objects = [(int(rng.integers(1, 4)), int(rng.integers(1, 3)), A) for _ in range(30)]
    boxes = [(i, c, A, round(float(rng.random()), 2)) for i, c, _ in objects]
    matches = make_matches(objects, boxes)
    found = np.flatnonzero(matches.objects.box != NONE)
    assert len(found) == len(objects)
    assert (matches.boxes.object[matches.objects.box[found]] == found).all()
    assert (matches.boxes.class_id[matches.objects.box] == matches.objects.class_id).all()
