"""Types and gains: by hand, as properties, and against the authors' tool."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.analysis.average_precision import (
    class_ap50,
    mean_ap,
    outcomes,
)
from detector.evaluation.analysis.error_types import (
    TYPES,
    error_types,
    find_errors,
    mend,
    without_missed,
    without_wrong_boxes,
)
from detector.evaluation.analysis.matches import Matches, match
from detector.evaluation.coco import CocoEvaluator

A, B, FAR = [10, 10, 40, 40], [100, 10, 40, 40], [10, 100, 40, 40]
NEAR_A = [30, 10, 40, 40]
"""Overlap 20·40 of 1600 + 1600 − 800: IoU 1/3."""

TIDECV = json.loads((Path(__file__).parent / "tidecv.json").read_text())
"""Numbers of the authors' tool, with the drawn boxes of one set; its source stands inside."""

THEIR_NAMES = {
    "classification": "Cls",
    "localisation": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}
THEIR_RECALLS = np.arange(101) / 100
"""COCO's are 0.01 times 0, 1, …, some of them above the fraction: a recall of 7/25 misses 0.28."""


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 1, A, 0.9), ""),
        ((1, 2, A, 0.9), "classification"),
        ((1, 1, NEAR_A, 0.9), "localisation"),
        ((1, 2, NEAR_A, 0.9), "both"),
        ((1, 1, FAR, 0.9), "background"),
        ((2, 1, A, 0.9), "background"),  # another image
    ],
)
def test_types_of_a_box(make_matches, box, expected):
    assert find_errors(make_matches([(1, 1, A)], [box])).box_type.tolist() == [expected]


def test_second_box_of_an_object_is_a_duplicate(make_matches):
    errors = find_errors(make_matches([(1, 1, A)], [(1, 1, A, 0.9), (1, 1, A, 0.8)]))
    assert errors.box_type.tolist() == ["", "duplicate"]


def test_boxes_on_crowds_have_no_type(make_matches):
    errors = find_errors(make_matches([(1, 1, [0, 0, 100, 100], 1)], [(1, 1, A, 0.9)]))
    assert errors.box_type.tolist() == [""] and not errors.missed.any()


def test_an_object_that_a_box_nearly_found_is_not_missed(make_matches):
    matches = make_matches([(1, 1, A), (1, 1, B)], [(1, 1, NEAR_A, 0.9)])
    assert find_errors(matches).missed.tolist() == [False, True]


def test_gains(make_matches):
    # cat: objects A (image 1) and B (image 1); boxes: right .9, far away .8, near B .7.
    near_b = [120, 10, 40, 40]
    matches = make_matches(
        [(1, 1, A), (1, 1, B)], [(1, 1, A, 0.9), (1, 1, FAR, 0.8), (1, 1, near_b, 0.7)]
    )
    found = error_types(matches)
    # Precision 1 up to recall 1/2, which is 51 of 101 recalls; nothing beyond.
    assert found.ap50 == pytest.approx(51 / 101)
    # The third box is right: precision 2/3 for the other 50 recalls.
    assert found.types["localisation"].gain == pytest.approx(50 / 101 * 2 / 3)
    # Nothing else is found without the box far away.
    assert found.types["background"].gain == pytest.approx(0.0)
    assert {name: one.count for name, one in found.types.items()} == {
        "classification": 0,
        "localisation": 1,
        "both": 0,
        "duplicate": 0,
        "background": 1,
        "missed": 0,
    }
    assert found.totals["false positives"].count == 2
    assert found.totals["false negatives"].count == 1
    # One object is asked for, and the best box finds it.
    assert found.totals["false negatives"].gain == pytest.approx(1 - 51 / 101)


def test_of_several_boxes_the_best_takes_the_object(make_matches):
    # Both would be A with another class or place; only the better one can be it, the other is
    # removed: AP is 1, not 51/101.
    matches = make_matches([(1, 1, A)], [(1, 2, A, 0.9), (1, 2, A, 0.8)])
    assert error_types(matches).types["classification"].gain == pytest.approx(1.0)
    matches = make_matches([(1, 1, A)], [(1, 1, NEAR_A, 0.8), (1, 2, A, 0.9)])
    errors = find_errors(matches)
    # The box of another class is better: mending the place alone removes the box.
    assert mean_ap(class_ap50(matches, mend(matches, errors, {"localisation"}))) == 0.0
    assert mean_ap(class_ap50(matches, mend(matches, errors, {"classification"}))) == pytest.approx(
        1.0
    )


def test_an_object_that_was_found_is_not_found_again(make_matches):
    matches = make_matches([(1, 1, A)], [(1, 1, A, 0.5), (1, 2, A, 0.9)])
    found = error_types(matches)
    assert found.ap50 == pytest.approx(1.0) and found.types["classification"].gain == 0.0


@pytest.mark.parametrize("boxes", [[], [(1, 1, A, 0.9)]])
def test_without_objects_there_is_nothing_to_gain(make_matches, boxes):
    found = error_types(make_matches([], boxes))
    assert found.ap50 == -1.0
    assert {one.gain for one in (*found.types.values(), *found.totals.values())} == {0.0}


def test_without_boxes_everything_is_missed(make_matches):
    found = error_types(make_matches([(1, 1, A)], []))
    assert found.ap50 == 0.0
    assert (found.types["missed"].count, found.types["missed"].gain) == (1, 1.0)  # none is left


sets = st.builds(
    lambda seed, objects, boxes: _draw(np.random.default_rng(seed), objects, boxes),
    st.integers(0, 2**32 - 1),
    st.integers(0, 12),
    st.integers(0, 25),
)


def _draw(rng, objects, boxes):
    """Return objects and boxes that often overlap, with equal scores among them."""

    def box():
        return [int(v) for v in (*rng.integers(0, 60, 2), *rng.integers(20, 50, 2))]

    def place():
        return int(rng.integers(1, 4)), int(rng.integers(1, 3))

    truth = [(*place(), box(), bool(rng.random() < 0.1)) for _ in range(objects)]
    found = [(*place(), box(), round(float(rng.random()), 1)) for _ in range(boxes)]
    found += [(i, c, b, round(float(rng.random()), 1)) for i, c, b, _ in truth[::2]]
    return truth, found


@settings(max_examples=60, deadline=None)
@given(sets)
def test_properties(make_matches, drawn):
    matches = make_matches(*drawn)
    now = mean_ap(class_ap50(matches, outcomes(matches)))
    assert now == pytest.approx(matches.evaluator.compute().summary["AP50"], abs=1e-12)
    errors = find_errors(matches)
    assert ((errors.box_type != "") == matches.boxes.wrong).all()
    every = mean_ap(class_ap50(matches, mend(matches, errors, TYPES)))
    assert every == pytest.approx(1.0) or every == -1.0  # −1: no object is left
    for name in TYPES:
        after = mean_ap(class_ap50(matches, mend(matches, errors, {name})))
        assert after >= now - 1e-12 or after == -1.0 or name == "missed"


def check_against_tidecv(matches: Matches, theirs: dict) -> None:
    """Compare counts and gains, with the authors' recalls and their mean over the classes.

    Their mean takes in classes without objects that have boxes, with an AP of 0; and they keep
    the boxes of the false positives' sum, with a score of 0.
    """
    now, errors = outcomes(matches), find_errors(matches)

    def ap(mended, also=None):
        boxes = np.bincount((also or mended).class_id, (also or mended).counted, len(matches.names))
        known = boxes + mended.objects > 0
        return 100 * np.maximum(class_ap50(matches, mended, THEIR_RECALLS), 0)[known].mean()

    base = ap(now)
    assert base == pytest.approx(theirs["ap"], abs=1e-6)
    counts = {name: (errors.box_type == name).sum() for name in TYPES}
    counts["missed"] = errors.missed.sum()
    for name, their_name in THEIR_NAMES.items():
        assert counts[name] == theirs["counts"][their_name], name
        gain = ap(mend(matches, errors, {name})) - base
        assert gain == pytest.approx(theirs["gains"][their_name], abs=1e-6), name
    wrong = ap(without_wrong_boxes(matches), also=now) - base
    assert wrong == pytest.approx(theirs["gains"]["FalsePos"], abs=1e-6)
    missed = ap(without_missed(matches)) - base
    assert missed == pytest.approx(theirs["gains"]["FalseNeg"], abs=1e-6)


def test_a_drawn_set_has_the_numbers_of_tidecv(make_matches):
    drawn = TIDECV["drawn"]
    rows = [drawn[key] for key in ("objects", "boxes", "images", "classes")]
    check_against_tidecv(make_matches(*rows), drawn)


def test_yolov5n_has_the_numbers_of_tidecv(shared: Path):
    truth = json.loads((shared / "data/coco128/annotations/instances_val2017_128.json").read_text())
    reference = json.loads((shared / "reference/yolov5n_coco128_val.json").read_text())
    categories = [one["id"] for one in truth["categories"]]
    evaluator = CocoEvaluator(truth, categories, [one["id"] for one in truth["images"]])
    evaluator.results = reference["detections_score_ge_0_1"]
    check_against_tidecv(match(evaluator), TIDECV["yolov5n_coco128"])
