"""Pascal VOC AP: cases counted by hand, and a plain-loop rewrite of the development kit."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.voc import VocEvaluator, VocMetrics
from detector.structures.detections import Detections

NAMES = ("cat", "dog", "owl")
CATEGORY_IDS = (3, 90, 4)
IMAGE_IDS = (7, 9, 8)
SQUARE = (0, 0, 10, 10)
METRICS = pytest.mark.parametrize("metric", ["voc07", "voc10"])


def spot(number: int) -> tuple[int, int, int, int]:
    """One of many squares that do not touch each other."""
    return (20 * number, 0, 20 * number + 10, 10)


def object_at(box_xyxy: Any, image_id: int = 7, class_id: int = 0, **flags: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box_xyxy
    category_id = CATEGORY_IDS[class_id]
    return {
        **{"image_id": image_id, "category_id": category_id, "bbox": [x1, y1, x2 - x1, y2 - y1]},
        **flags,
    }


def evaluator(
    objects: list[dict[str, Any]], metric: Any = "voc10", image_ids: tuple[int, ...] = IMAGE_IDS
) -> VocEvaluator:
    categories = [
        {"id": number, "name": name} for number, name in zip(CATEGORY_IDS, NAMES, strict=True)
    ]
    ground_truth = {"images": [], "categories": categories, "annotations": objects}
    return VocEvaluator(ground_truth, CATEGORY_IDS, image_ids, metric)


def measure(
    metric: str, objects: list[dict[str, Any]], found: list[tuple[Any, ...]], **options: Any
) -> VocMetrics:
    """``found``: box, score, and if they are not 7 and 0, image id and class."""
    e = evaluator(objects, metric, **options)
    rows = [(*row, *(7, 0)[len(row) - 2 :]) for row in found]
    for image_id in IMAGE_IDS:
        of_image = sorted((row for row in rows if row[2] == image_id), key=lambda row: -row[1])
        e.add(
            image_id,
            Detections(
                np.array([row[0] for row in of_image], np.float32).reshape(-1, 4),
                np.array([row[1] for row in of_image], np.float32),
                np.array([row[3] for row in of_image], np.int64),
                NAMES,
            ),
        )
    return e.compute()


def cat(metric: str, objects: list[dict[str, Any]], found: list[tuple[Any, ...]]) -> float:
    return measure(metric, objects, found).per_class["cat"]


def in_turn(judged: str) -> list[tuple[Any, ...]]:
    """Falling scores; each ``r`` finds the next object, each ``w`` finds nothing."""
    found, right = [], 0
    for number, letter in enumerate(judged):
        found.append((spot(right) if letter == "r" else (0, 50, 10, 60), 0.9 - number / 100))
        right += letter == "r"
    return found


# ---------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("judged", "objects", "voc07", "voc10"),
    [
        ("", 2, 0, 0),
        ("w", 2, 0, 0),
        ("rr", 2, 1, 1),
        # Precisions 0, 1/2, 2/3: the best one at either recall is the last.
        ("wrr", 2, 2 / 3, 2 / 3),
        # Recalls ¼ ¼ ½ ½ ½ ¾ with precisions 1 ½ ⅔ ½ ⅖ ½.
        # 11 points: 1 at 0 .1 .2, ⅔ at .3 .4 .5, ½ at .6 .7, 0 at .8 .9 1: (3 + 2 + 1) / 11.
        # Area: ¼ · 1 + ¼ · ⅔ + ¼ · ½ = 13/24.
        ("rwrwwr", 4, 6 / 11, 13 / 24),
        # What is wrong after the last right one costs nothing: recall ½ at precision 1.
        ("rwww", 2, 6 / 11, 1 / 2),
    ],
)
def test_curves(judged: str, objects: int, voc07: float, voc10: float):
    ground_truth = [object_at(spot(number)) for number in range(objects)]
    assert cat("voc07", ground_truth, in_turn(judged)) == pytest.approx(voc07)
    assert cat("voc10", ground_truth, in_turn(judged)) == pytest.approx(voc10)


@pytest.mark.parametrize("right", range(1, 11))
def test_a_recall_in_tenths_reaches_its_point(right: int):
    """3/10 counts at 0.3, though 3 · 0.1 is more than 3/10 in floating point."""
    ground_truth = [object_at(spot(number)) for number in range(10)]
    assert cat("voc07", ground_truth, in_turn("r" * right)) == pytest.approx((right + 1) / 11)


def test_an_overlap_of_one_half_is_enough():
    # 10·5 of 100 + 50 − 50 is ½; with the kit's inclusive pixels it would be more.
    assert cat("voc10", [object_at(SQUARE)], [((0, 0, 10, 5), 0.9)]) == 1
    assert cat("voc10", [object_at(SQUARE)], [((0, 0, 10, 4.99), 0.9)]) == 0


def test_a_second_detection_of_an_object_is_wrong():
    ground_truth = [object_at(SQUARE), object_at(spot(1))]
    found = [(SQUARE, 0.9), (SQUARE, 0.8), (spot(1), 0.7)]
    # Recalls ½ ½ 1 with precisions 1 ½ ⅔; area: ½ · 1 + ½ · ⅔; points: 6 · 1 + 5 · ⅔ of 11.
    assert cat("voc10", ground_truth, found) == pytest.approx(5 / 6)
    assert cat("voc07", ground_truth, found) == pytest.approx(28 / 33)


def test_the_better_of_two_detections_claims_the_object():
    # The better one overlaps less (80 / 120) and is found later: precision 1 at recall 1.
    found = [(SQUARE, 0.7), ((2, 0, 12, 10), 0.8)]
    assert cat("voc10", [object_at(SQUARE)], found) == 1


def test_a_detection_goes_to_the_object_that_it_overlaps_most_though_that_is_taken():
    ground_truth = [object_at(SQUARE), object_at((3, 0, 13, 10))]
    # The second one has 90 / 110 with the first object and 80 / 120 with the other, which is free:
    # wrong all the same. One object of two at precision 1.
    found = [(SQUARE, 0.9), ((1, 0, 11, 10), 0.8)]
    assert cat("voc10", ground_truth, found) == pytest.approx(1 / 2)
    assert cat("voc10", ground_truth, found[1:]) == pytest.approx(1 / 2)


@METRICS
@pytest.mark.parametrize("flag", ["difficult", "iscrowd"])
def test_an_object_may_count_neither_way(metric: str, flag: str):
    ground_truth = [object_at(SQUARE, **{flag: 1}), object_at(spot(1), **{flag: 0})]
    # Both detections of the flagged object come before the only one that counts.
    assert cat(metric, ground_truth, [(SQUARE, 0.9), (SQUARE, 0.8), (spot(1), 0.7)]) == 1
    # One with 40 / 160 of it is no detection of it, but wrong: precision ½ at recall 1.
    assert cat(metric, ground_truth, [((0, 6, 10, 16), 0.9), (spot(1), 0.7)]) == pytest.approx(
        1 / 2
    )


def test_a_detection_mostly_on_a_difficult_object_claims_no_other_one():
    ground_truth = [object_at(SQUARE, difficult=1), object_at((3, 0, 13, 10))]
    found = ((1, 0, 11, 10), 0.9)  # 90 / 110 and 80 / 120
    assert cat("voc10", ground_truth, [found]) == 0
    assert cat("voc10", ground_truth, [found, ((3, 0, 13, 10), 0.8)]) == 1


@METRICS
def test_classes_are_judged_apart_and_one_without_ground_truth_is_not_in_the_mean(metric: str):
    ground_truth = [
        object_at(SQUARE),
        object_at(SQUARE, 9, 1),
        object_at(SQUARE, 9, 2, difficult=1),
    ]
    # The dog's place is found as a cat, after the cat itself; the only owl is difficult.
    found = [(SQUARE, 0.9, 7, 0), (SQUARE, 0.8, 9, 0), (SQUARE, 0.9, 7, 2)]
    metrics = measure(metric, ground_truth, found)
    assert metrics.per_class == {"cat": 1, "dog": 0, "owl": -1}
    assert metrics.summary == {"mAP": 1 / 2}


@METRICS
@pytest.mark.parametrize(("objects", "expected"), [([], -1), ([object_at(SQUARE)], 0)])
def test_no_detections_at_all(metric: str, objects: list[dict[str, Any]], expected: int):
    metrics = measure(metric, objects, [])
    assert metrics.per_class == {"cat": expected, "dog": -1, "owl": -1}
    assert metrics.summary == {"mAP": expected}


@METRICS
def test_in_an_image_without_ground_truth_every_detection_is_wrong(metric: str):
    found = [(SQUARE, 0.9, 8), (SQUARE, 0.8, 7)]
    assert measure(metric, [object_at(SQUARE)], found).per_class["cat"] == pytest.approx(1 / 2)


def test_objects_of_images_that_are_not_counted():
    ground_truth = [object_at(SQUARE, 7), object_at(SQUARE, 9)]
    assert measure("voc10", ground_truth, [(SQUARE, 0.9)], image_ids=(7,)).per_class["cat"] == 1


def test_reset_forgets_boxes_and_keeps_the_ground_truth():
    e = evaluator([object_at(SQUARE)])
    box, score = np.array([SQUARE], np.float32), np.array([0.9], np.float32)
    e.add(7, Detections(box, score, np.zeros(1, np.int64), NAMES))
    assert e.compute().per_class["cat"] == 1
    e.reset()
    assert e.results == []
    assert e.compute().per_class["cat"] == 0


@pytest.mark.parametrize(
    ("metric", "how"), [("voc07", "11 points (VOC2007)"), ("voc10", "area (VOC2010)")]
)
def test_metrics_have_a_title_and_can_be_written_as_json(metric: str, how: str):
    metrics = measure(metric, [object_at(SQUARE)], [])
    assert metrics.title == f"Pascal VOC AP at IoU 0.5, {how}"
    assert json.loads(json.dumps(metrics.to_dict())) == {
        "mAP": 0,
        "per_class": {"cat": 0, "dog": -1, "owl": -1},
    }


# ----------------------------------------------------------------------------- the development kit


def kit_overlap(a: Any, b: Any) -> Fraction:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return Fraction(0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return Fraction(width * height, union)


def kit_judgements(objects: list[dict[str, Any]], found: list[tuple[Any, ...]]) -> list[bool]:
    """VOCevaldet.m's main loop for one class; what counts neither way is left out."""
    detected: set[int] = set()
    result = []
    for box, _, image_id, _ in sorted(found, key=lambda row: -row[1]):
        best, owner = Fraction(-1), None
        for number, annotation in enumerate(objects):
            if annotation["image_id"] == image_id:
                x, y, w, h = annotation["bbox"]
                overlap = kit_overlap(box, (x, y, x + w, y + h))
                if overlap > best:
                    best, owner = overlap, number
        if owner is None or best < Fraction(1, 2):
            result.append(False)
        elif not (objects[owner]["difficult"] or objects[owner]["iscrowd"]):
            result.append(owner not in detected)
            detected.add(owner)
    return result


def kit_ap(metric: str, judgements: list[bool], count: int) -> float:
    """VOCap.m, and the loop over 0:0.1:1 that it took the place of."""
    recalls, precisions, right = [], [], 0
    for number, is_right in enumerate(judgements, start=1):
        right += is_right
        recalls.append(Fraction(right, count))
        precisions.append(Fraction(right, number))
    if metric == "voc07":
        total = Fraction(0)
        for tenth in range(11):
            pairs = zip(recalls, precisions, strict=True)
            reached = [p for r, p in pairs if r >= Fraction(tenth, 10)]
            total += max(reached, default=Fraction(0)) / 11
        return float(total)
    recalls, precisions = [Fraction(0), *recalls, Fraction(1)], [Fraction(0), *precisions, 0]
    for i in range(len(precisions) - 2, -1, -1):
        precisions[i] = max(precisions[i], precisions[i + 1])
    total = Fraction(0)
    for i in range(1, len(recalls)):
        if recalls[i] != recalls[i - 1]:
            total += (recalls[i] - recalls[i - 1]) * precisions[i]
    return float(total)


def random_box(rng: np.random.Generator) -> tuple[int, ...]:
    x, y, width, height = rng.integers((0, 0, 4, 4), (24, 24, 14, 14)).tolist()
    return (x, y, x + width, y + height)


@METRICS
@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), objects=st.integers(0, 20), detections=st.integers(0, 50))
def test_equals_the_development_kit(metric: str, seed: int, objects: int, detections: int):
    """Whole pixels and eighths as scores: all comparisons are exact, and many scores are equal."""
    rng = np.random.default_rng(seed)
    ground_truth = [
        object_at(
            random_box(rng),
            int(rng.choice(IMAGE_IDS[:2])),
            int(rng.integers(3)),
            difficult=int(rng.random() < 0.2),
            iscrowd=int(rng.random() < 0.1),
        )
        for _ in range(objects)
    ]
    found: list[tuple[Any, ...]] = []
    for _ in range(detections):
        box, image_id, class_id = random_box(rng), int(rng.choice(IMAGE_IDS)), int(rng.integers(3))
        if ground_truth and rng.random() < 0.8:  # near an object
            near = ground_truth[rng.integers(objects)]
            x, y, w, h = near["bbox"]
            dx, dy = rng.integers(-2, 3, 2).tolist()
            box, image_id = (x + dx, y + dy, x + w + dx, y + h), near["image_id"]
            class_id = CATEGORY_IDS.index(near["category_id"])
        found.append((box, int(rng.integers(1, 9)) / 8, image_id, class_id))
    # Image by image, as the evaluator is given them.
    found.sort(key=lambda row: (IMAGE_IDS.index(row[2]), -row[1]))

    metrics = measure(metric, ground_truth, found)
    expected = {}
    for class_id, name in enumerate(NAMES):
        of_class = [one for one in ground_truth if one["category_id"] == CATEGORY_IDS[class_id]]
        count = sum(not (one["difficult"] or one["iscrowd"]) for one in of_class)
        judgements = kit_judgements(of_class, [row for row in found if row[3] == class_id])
        expected[name] = kit_ap(metric, judgements, count) if count else -1.0
    assert metrics.per_class == pytest.approx(expected, abs=1e-12)
    measured = [ap for ap in expected.values() if ap >= 0]
    mean = sum(measured) / len(measured) if measured else -1
    assert metrics.summary["mAP"] == pytest.approx(mean, abs=1e-12)
