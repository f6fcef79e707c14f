"""Suspicion of each kind of wrong label, and its order, counted by hand."""

import pytest

from detector.evaluation.analysis.label_errors import label_errors

A, B, FAR = [10, 10, 40, 40], [100, 10, 40, 40], [10, 100, 40, 40]
NEAR_A = [30, 10, 40, 40]
"""IoU 1/3 with A."""
BESIDE_A = [20, 10, 40, 40]
"""IoU 0.6 with A."""


def rows(matches, confidence=0.25):
    return [
        (one.kind, one.label_class, one.predicted_class, pytest.approx(one.suspicion))
        for one in label_errors(matches, confidence)
    ]


@pytest.mark.parametrize(
    ("objects", "boxes", "expected"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([(1, 1, A)], [(1, 1, A, 0.9)], [], id="agreement"),
        pytest.param([], [(1, 1, A, 0.9)], [("missing label", None, "cat", 0.9)], id="missing"),
        pytest.param([], [(1, 1, A, 0.2)], [], id="below the confidence"),
        pytest.param(
            [],
            [(1, 1, A, 0.9), (1, 2, A, 0.8), (1, 1, BESIDE_A, 0.7)],
            [("missing label", None, "cat", 0.9)],
            id="only the best box of a place",
        ),
        pytest.param(
            [(1, 1, A)],
            [(1, 2, A, 0.6), (1, 1, A, 0.2)],
            [("wrong class", "cat", "dog", 0.75)],  # 0.6 / (0.6 + 0.2)
            id="wrong class",
        ),
        pytest.param([(1, 1, A)], [(1, 2, A, 0.4), (1, 1, A, 0.6)], [], id="own class is surer"),
        pytest.param(
            [(1, 1, A)],
            [(1, 1, BESIDE_A, 0.5)],
            [("shifted box", "cat", "cat", 0.4)],  # 0.5 · 2 · (1 − 0.6)
            id="shifted a little",
        ),
        pytest.param(
            [(1, 1, A)],
            [(1, 1, NEAR_A, 0.5)],
            [("shifted box", "cat", "cat", 0.5)],  # and no missing label there
            id="shifted",
        ),
        pytest.param([(1, 1, A)], [(1, 1, NEAR_A, 0.5), (1, 1, A, 0.4)], "missing", id="a second"),
        pytest.param(
            [(1, 1, A), (1, 1, B)],
            [(1, 1, B, 0.9), (1, 1, A, 0.1)],
            [("unfound object", "cat", None, 0.225)],  # half of the cats: 0.5 / 2 · (1 − 0.1)
            id="unfound",
        ),
        pytest.param([(1, 1, A)], [], [], id="a class that is never found says nothing"),
        pytest.param([(1, 1, [0, 0, 90, 90], 1)], [(1, 2, A, 0.9)], "dog", id="crowd"),
    ],
)
def test_kinds(make_matches, objects, boxes, expected):
    found = rows(make_matches(objects, boxes))
    if expected == "missing":  # the box that fits is there: the other one is no shifted label
        expected = [("missing label", None, "cat", 0.5)]
    if expected == "dog":  # only a box of the crowd's class lies on the crowd
        expected = [("missing label", None, "dog", 0.9)]
    assert found == expected


def test_the_most_suspicious_comes_first_and_says_where(make_matches):
    matches = make_matches(
        [(2, 1, A), (3, 1, A), (3, 1, B)],
        [(1, 1, FAR, 0.7), (2, 2, BESIDE_A, 0.8), (3, 1, A, 0.9), (3, 1, B, 0.9)],
    )
    first, second = label_errors(matches, 0.25)
    assert (first.image_id, first.kind, first.suspicion) == (2, "wrong class", 1.0)
    assert first.box_xyxy == (10, 10, 50, 50)  # the labelled box
    assert first.predicted_box_xyxy == (20, 10, 60, 50) and first.score == 0.8
    assert (second.image_id, second.kind) == (1, "missing label")
    assert second.box_xyxy == second.predicted_box_xyxy == (10, 100, 50, 140)


def test_planted_errors_come_before_everything_else(make_matches, rng):
    """A network that is right: flipped and deleted labels are the first of the list."""
    places = [[x, y, 30, 30] for x in (0, 50, 100, 150) for y in (0, 50, 100, 150)]
    true = [(i, int(rng.integers(1, 3)), box) for i in (1, 2, 3) for box in places]
    boxes = [(i, c, b, round(float(rng.uniform(0.6, 1)), 3)) for i, c, b in true]
    flipped, deleted = set(range(0, 48, 9)), set(range(1, 48, 9))
    labels = [
        (i, 3 - c if n in flipped else c, b) for n, (i, c, b) in enumerate(true) if n not in deleted
    ]
    found = label_errors(make_matches(labels, boxes), 0.25)
    assert len(found) == len(flipped) + len(deleted)
    assert {one.kind for one in found[: len(flipped)]} == {"wrong class"}
    assert {one.kind for one in found[len(flipped) :]} == {"missing label"}
