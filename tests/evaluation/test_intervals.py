"""Bootstrap intervals: AP of a resample is that of a data set with images repeated."""

from typing import Any

import numpy as np
import pytest

from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.intervals import CanResample, draw, interval, resampled_mean
from detector.structures.classification import Classification


def ground_truth(images: list[list[tuple[int, list[float], int]]]) -> dict[str, Any]:
    """Images with objects (category, xywh, iscrowd)."""
    annotations = [
        {"image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for i, objects in enumerate(images, start=1)
        for c, box, crowd in objects
    ]
    return {
        "images": [{"id": i, "height": 99, "width": 99} for i in range(1, len(images) + 1)],
        "annotations": [{"id": n, **one} for n, one in enumerate(annotations, start=1)],
        "categories": [{"id": c, "name": f"class {c}"} for c in (1, 2, 3)],
    }


def evaluator_of(images: list[Any], found: list[list[tuple[int, list[float], float]]]) -> Any:
    evaluator = CocoEvaluator(ground_truth(images), (1, 2, 3), range(1, len(images) + 1))
    evaluator.results = [
        {"image_id": i, "category_id": c, "bbox": box, "score": score}
        for i, boxes in enumerate(found, start=1)
        for c, box, score in boxes
    ]
    return evaluator


BOX, ELSEWHERE = [10.0, 10.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]


def test_a_hand_computed_resample():
    """Image 1: the object is found, score 0.9. Image 2: a wrong box of score 0.95, nothing found.

    Weights (1, 1): recall 1/2 at precision 1/2: the 51 recalls 0, 0.01, …, 0.5 read 1/2, so that AP
    is 51/101/2. (2, 0): all found, AP 1. (0, 2): none found, AP 0.
    """
    evaluator = evaluator_of(
        [[(1, BOX, 0)], [(1, BOX, 0)]], [[(1, BOX, 0.9)], [(1, ELSEWHERE, 0.95)]]
    )
    found = evaluator.resampled(np.array([[1, 1], [2, 0], [0, 2]], np.int32))
    assert found == pytest.approx([51 / 101 / 2, 1, 0])
    assert evaluator.compute().ap == pytest.approx(51 / 101 / 2)


def test_nothing_to_measure():
    assert evaluator_of([[]], [[]]).resampled(np.ones((1, 1), np.int32)) == [-1]
    # An object and no box at all: AP 0; an image without it: nothing to measure.
    weights = np.array([[1, 1], [0, 2]], np.int32)
    assert evaluator_of([[(2, BOX, 0)], []], [[], []]).resampled(weights).tolist() == [0, -1]


def test_it_is_pycocotools_ap_of_repeated_images(rng: np.random.Generator):
    images, found = [], []
    for _ in range(12):
        corners = rng.integers(0, 60, (rng.integers(0, 5), 2)).tolist()
        objects = [(int(rng.integers(1, 4)), [*map(float, xy), 20.0, 24.0]) for xy in corners]
        images.append([(c, box, int(rng.random() < 0.15)) for c, box in objects])
        near = [(c, [box[0] + rng.normal(0, 2), *box[1:]]) for c, box in objects for _ in range(2)]
        far = [(int(rng.integers(1, 4)), [*map(float, rng.integers(0, 60, 2)), 20.0, 20.0])]
        found.append([(c, box, float(rng.random())) for c, box in near + far])
    weights = draw(12, 20)
    resampled = evaluator_of(images, found).resampled(weights)
    for row, ap in zip(weights, resampled, strict=True):
        copies = np.repeat(np.arange(12), row)
        repeated = evaluator_of([images[i] for i in copies], [found[i] for i in copies])
        assert repeated.compute().ap == pytest.approx(ap, abs=1e-12)
    assert len(set(resampled)) > 10  # they differ


def test_the_order_of_image_ids_is_that_of_the_weights():
    evaluator = CocoEvaluator(ground_truth([[(1, BOX, 0)], [(1, BOX, 0)]]), (1, 2, 3), (2, 1))
    evaluator.results = [{"image_id": 2, "category_id": 1, "bbox": BOX, "score": 0.9}]
    found = evaluator.resampled(np.array([[2, 0], [0, 2]], np.int32))
    assert found.tolist() == pytest.approx([1, 0])  # image 2 twice, then image 1 twice


def test_accuracy():
    """Images 5, 7 and 9 of class 1; 5 and 9 are right. (1, 1, 1): 2/3; (0, 3, 0): 0."""
    truth = {
        "annotations": [{"image_id": i, "category_id": 1} for i in (9, 7, 5)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    evaluator = ClassificationEvaluator(truth, (1, 2), (5, 7, 9))
    for image_id, best in ((5, 0), (7, 1), (9, 0)):
        order = np.array([best, 1 - best])
        evaluator.add(image_id, Classification(np.array([0.9, 0.1], np.float32), order, ("a", "b")))
    found = evaluator.resampled(np.array([[1, 1, 1], [0, 3, 0]], np.int32))
    assert found == pytest.approx([2 / 3, 0])
    assert isinstance(evaluator, CanResample)


def test_the_interval_covers_95_of_100():
    low, high = interval(np.arange(1001.0))
    assert (low, high) == pytest.approx((25, 975))


def test_the_interval_of_a_mean_is_that_of_theory(rng: np.random.Generator):
    """400 values of deviation 1: the mean's is 1/20, and 95 of 100 lie within 1.96 of them."""
    values = rng.normal(size=400)
    low, high = interval(resampled_mean(values, draw(400)))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_draws_are_repeatable():
    assert np.array_equal(draw(7, 5), draw(7, 5))
    assert draw(7, 5).sum(axis=1).tolist() == [7] * 5
