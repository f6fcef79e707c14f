"""Bootstrap intervals: AP of a resample is that of a data set with images repeated."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.intervals import draw, interval
from detector.evaluation.voc import VocEvaluator
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
    found = evaluator.resampled(np.array([[1, 1], [2, 0], [0, 2]], np.int32)).main
    assert found == pytest.approx([51 / 101 / 2, 1, 0])
    assert evaluator.compute().ap == pytest.approx(51 / 101 / 2)


def test_nothing_to_measure():
    assert evaluator_of([[]], [[]]).resampled(np.ones((1, 1), np.int32)).main == [-1]
    # An object and no box at all: AP 0; an image without it: nothing to measure.
    weights = np.array([[1, 1], [0, 2]], np.int32)
    assert evaluator_of([[(2, BOX, 0)], []], [[], []]).resampled(weights).main.tolist() == [0, -1]


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
    resampled = evaluator_of(images, found).resampled(weights).main
    for row, ap in zip(weights, resampled, strict=True):
        copies = np.repeat(np.arange(12), row)
        repeated = evaluator_of([images[i] for i in copies], [found[i] for i in copies])
        assert repeated.compute().ap == pytest.approx(ap, abs=1e-12)
    assert len(set(resampled)) > 10  # they differ


def test_the_order_of_image_ids_is_that_of_the_weights():
    evaluator = CocoEvaluator(ground_truth([[(1, BOX, 0)], [(1, BOX, 0)]]), (1, 2, 3), (2, 1))
    evaluator.results = [{"image_id": 2, "category_id": 1, "bbox": BOX, "score": 0.9}]
    found = evaluator.resampled(np.array([[2, 0], [0, 2]], np.int32)).main
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
    found = evaluator.resampled(np.array([[1, 1, 1], [0, 3, 0]], np.int32)).main
    assert found == pytest.approx([2 / 3, 0])


def test_accuracy_of_each_class():
    """Image 1 of class a is right; 2 and 3 of b: one is right. Weights (2, 0, 1): a 1, b 0."""
    truth = {
        "annotations": [{"image_id": i, "category_id": c} for i, c in ((1, 1), (2, 2), (3, 2))],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    evaluator = ClassificationEvaluator(truth, (1, 2), (1, 2, 3))
    for image_id, best in ((1, 0), (2, 1), (3, 0)):
        order = np.array([best, 1 - best])
        evaluator.add(image_id, Classification(np.array([0.9, 0.1], np.float32), order, ("a", "b")))
    found = evaluator.resampled(np.array([[2, 0, 1], [3, 0, 0]], np.int32))
    assert found.main == pytest.approx([2 / 3, 1])
    assert found.summary["top5"].tolist() == [1, 1]  # two classes: both are among the best five
    assert found.per_class["a"].tolist() == [1, 1]
    assert found.per_class["b"].tolist() == [0, -1]


# A few boxes in few places with few scores: objects and detections often coincide, and scores often
# are equal, within an image and between images.
PLACES = [[10.0 * x, 0.0, 12.0, 12.0] for x in range(4)]
OBJECTS = st.tuples(st.integers(1, 2), st.sampled_from(PLACES), st.sampled_from([0, 0, 0, 1]))
BOXES = st.tuples(st.integers(1, 2), st.sampled_from(PLACES), st.sampled_from([0.25, 0.5, 0.75]))
IMAGES = st.lists(
    st.tuples(
        st.lists(OBJECTS, max_size=3),
        st.lists(BOXES, max_size=5),
        st.integers(min_value=0, max_value=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30)
@given(IMAGES)
def test_ties_are_those_of_repeated_images(drawn: list[Any]):
    images, found, weights = (list(column) for column in zip(*drawn, strict=True))
    resampled = evaluator_of(images, found).resampled(np.array([weights], np.int32))
    copies = list(itertools.chain(*([i] * weight for i, weight in enumerate(weights))))
    if not copies:
        assert resampled.main == [-1]
        return
    repeated = evaluator_of([images[i] for i in copies], [found[i] for i in copies]).compute()
    for name, values in resampled.summary.items():
        assert values == pytest.approx([repeated.summary[name]], abs=1e-12)
    for name, ap in repeated.per_class.items():
        assert resampled.per_class[name] == pytest.approx([ap], abs=1e-12)


@pytest.mark.parametrize("metric", ["voc07", "voc10"])
@settings(max_examples=30)
@given(drawn=IMAGES)
def test_voc_ap_is_that_of_repeated_images(metric: Any, drawn: list[Any]):
    def evaluator(order: list[int]) -> VocEvaluator:
        coco = evaluator_of([images[i] for i in order], [found[i] for i in order])
        truth = ground_truth([images[i] for i in order])
        voc = VocEvaluator(truth, (1, 2, 3), coco.image_ids, metric)
        voc.results = coco.results
        return voc

    images, found, weights = (list(column) for column in zip(*drawn, strict=True))
    resampled = evaluator([*range(len(images))]).resampled(np.array([weights], np.int32))
    copies = list(itertools.chain(*([i] * weight for i, weight in enumerate(weights))))
    repeated = evaluator(copies).compute()
    assert resampled.main == pytest.approx([repeated.summary["mAP"]], abs=1e-12)
    for name, ap in repeated.per_class.items():
        assert resampled.per_class[name] == pytest.approx([ap], abs=1e-12)


def test_the_interval_covers_95_of_100():
    assert interval(np.arange(1001.0), 500) == pytest.approx((25, 975))


def test_the_interval_is_corrected_for_bias():
    """308.5 of 1001 resamples lie below the value: their share is Φ(−0.5).

    Both percentiles are shifted by 2 · −0.5: Φ(−1 − 1.96) = 0.0015 and Φ(−1 + 1.96) = 0.8315.
    """
    assert interval(np.arange(1001.0), 308.4) == pytest.approx((1.5, 831.5), abs=1)


def test_the_interval_where_all_resamples_lie_on_one_side():
    """The share below is taken as ½ of 200: Φ(−2.81); both percentiles are the lowest ones."""
    low, high = interval(np.arange(1.0, 201), 0.0)
    assert (low, high) == pytest.approx((1, 1), abs=0.03)


def test_equal_values_have_a_width_of_nothing():
    assert interval(np.full(10, 0.5), 0.5 + 1e-12) == (0.5, 0.5)


def test_no_interval_of_what_is_seldom_measured():
    """Six of a hundred resamples without an object of the class are too many, five are not."""
    values = np.append(np.linspace(0, 1, 94), [np.nan] * 6)
    assert interval(values, 0.5) is None
    values[-1] = 0.5
    assert interval(values, 0.5) is not None
    assert interval(np.zeros(0), 0.5) is None
    assert interval(np.full(3, np.nan), -1) is None


def test_the_interval_of_a_mean_is_that_of_theory(rng: np.random.Generator):
    """400 values of deviation 1: the mean's is 1/20, and 95 of 100 lie within 1.96 of them."""
    values = rng.normal(size=400)
    found = draw(400) @ values / 400
    low, high = interval(found, values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_draws_are_repeatable():
    assert np.array_equal(draw(7, 5), draw(7, 5))
    assert draw(7, 5).sum(axis=1).tolist() == [7] * 5
    assert not np.array_equal(draw(7, 5), draw(7, 5, seed=1))
