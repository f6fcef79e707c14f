"""faster-coco-eval in place of pycocotools: the same metrics, on whatever is drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator, Parts
from detector.evaluation.intervals import draw
from detector.evaluation.run import by_library, choose_metric
from detector.utils.errors import DetectorError

pytest.importorskip("faster_coco_eval", reason="needs the extra faster")

ROUNDING = 1e-12
LIMIT = 100  # boxes of a class in an image that COCO counts

IMAGE_IDS = (3, 8, 2**53, 2**53 + 1, 2**60)  # float64 does not tell the third from the fourth
CATEGORY_IDS = (1, 7, 90, 2**53 + 1)

SIDES = st.sampled_from([0.0, 1.0, 16.0, 31.5, 32.0, 33.0, 96.0, 97.0])
BOXES = st.tuples(
    st.sampled_from([0.0, 4.0, 8.0, 40.0]), st.sampled_from([0.0, 2.0, 8.0, 30.5]), SIDES, SIDES
)
"""Few places and sides, at COCO's limits of areas: many boxes are equal, touch, or are empty."""

AREAS = st.sampled_from([0.0, 1.0, 1023.9, 1024.0, 1024.1, 9216.0, 9216.1, 1e10, 1.1e10])
SCORES = st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0]) | st.floats(0, 1)

OBJECTS = st.fixed_dictionaries(
    {
        "category_id": st.sampled_from(CATEGORY_IDS[:3]),
        "bbox": BOXES.map(list),
        "area": AREAS,
        "iscrowd": st.sampled_from([0, 0, 0, 1]),
    },
    # Keys of other files, of which the library reads three.
    optional={
        "is_crowd": st.just(1),
        "lvis_mark": st.just(True),
        "drop": st.just(True),
        "ignore": st.just(1),
    },
)
FOUND = st.fixed_dictionaries(
    {"category_id": st.sampled_from(CATEGORY_IDS), "bbox": BOXES.map(list), "score": SCORES}
)


@st.composite
def evaluation_sets(draw_value: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and boxes: some images without either, some with more boxes than count."""
    image_ids = draw_value(st.permutations(IMAGE_IDS))[: draw_value(st.integers(1, 5))]
    annotations, results = [], []
    for image_id in image_ids:
        objects = draw_value(st.lists(OBJECTS, max_size=6))
        annotations += [{**one, "image_id": image_id} for one in objects]
        found = draw_value(st.lists(FOUND, max_size=8))
        if found and draw_value(st.integers(0, 11)) == 0:
            found = found * (LIMIT // len(found) + 2)
        results += [{**one, "image_id": image_id} for one in found]
    ground_truth = {
        "images": [{"id": one, "height": 200, "width": 200} for one in image_ids],
        "categories": [{"id": one, "name": f"class {one}"} for one in CATEGORY_IDS],
        "annotations": [{**one, "id": n} for n, one in enumerate(annotations, start=2**64)],
    }
    return ground_truth, results


def both(
    ground_truth: dict[str, Any], results: list[dict[str, Any]]
) -> tuple[CocoEvaluator, CocoEvaluator]:
    """Return evaluators of both libraries with the same boxes."""
    categories = [one["id"] for one in ground_truth["categories"]]
    images = [one["id"] for one in ground_truth["images"]]
    plain = CocoEvaluator(json.loads(json.dumps(ground_truth)), categories, images)
    fast = by_library(CocoEvaluator, "faster-coco-eval")(ground_truth, categories, images)
    plain.results = fast.results = results
    return plain, fast


def check_equal(plain: CocoEvaluator, fast: CocoEvaluator, curves: bool = True) -> None:
    """Compare the twelve metrics, each class's AP, and the curves that they are read from.

    Args:
        plain: pycocotools'.
        fast: faster-coco-eval's, with the same boxes.
        curves: compare these, too, for which both evaluate again.
    """
    expected, found = plain.compute(), fast.compute()
    assert len(expected.summary) == 12
    assert found.summary == pytest.approx(expected.summary, abs=ROUNDING, rel=0)
    assert found.per_class == pytest.approx(expected.per_class, abs=ROUNDING, rel=0)
    assert found.left_out == expected.left_out
    assert (expected.title, found.title) == ("COCO AP (pycocotools)", "COCO AP (faster-coco-eval)")
    arrays = [one.evaluation().eval for one in (plain, fast)] if curves else []
    for name in ("precision", "recall", "scores") if curves else ():
        assert arrays[1][name] == pytest.approx(arrays[0][name], abs=ROUNDING, rel=0)


@settings(max_examples=10)
@given(drawn=evaluation_sets())
def test_metrics_are_those_of_pycocotools(drawn: Any):
    check_equal(*both(*drawn))


@settings(max_examples=8)
@given(drawn=evaluation_sets())
def test_metrics_of_resamples_are_the_same_to_the_last_bit(drawn: Any):
    """Both read the same matches; what is computed of them is one and the same code."""
    plain, fast = both(*drawn)
    weights = draw(len(plain.image_ids), 20)
    expected, found = plain.resampled(weights), fast.resampled(weights)
    for ours, theirs in ((expected.summary, found.summary), (expected.per_class, found.per_class)):
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            assert np.array_equal(values, theirs[name]), name


@settings(max_examples=10)
@given(drawn=evaluation_sets(), iou=st.sampled_from([None, 0.5, 0.3]), by_class=st.booleans())
def test_parts_of_the_images_and_sizes(drawn: Any, iou: float | None, by_class: bool):
    """One image, two ranges of areas, one IoU threshold, classes or none."""
    parts = Parts(drawn[0]["images"][0:1] and [drawn[0]["images"][0]["id"]], [(0, 1e4), (50, 1024)])
    arrays = [one.evaluation(by_class=by_class, iou=iou, parts=parts).eval for one in both(*drawn)]
    for name in ("precision", "recall"):
        assert arrays[1][name] == pytest.approx(arrays[0][name], abs=ROUNDING, rel=0)


def test_nothing_at_all():
    nothing: dict[str, Any] = {"images": [{"id": 1}], "categories": [], "annotations": []}
    check_equal(*both(nothing, []))
    one_class = {**nothing, "categories": [{"id": 2**53 + 1, "name": "cat"}]}
    check_equal(*both(one_class, []))
    found = [{"image_id": 1, "category_id": 2**53 + 1, "bbox": [0, 0, 1, 1], "score": 0.5}]
    check_equal(*both(one_class, found))


@pytest.mark.parametrize(
    "annotations", ["instances_val2017_128.json", "instances_val2017_100_crowd.json"]
)
def test_detections_of_a_network_on_coco(annotations: str, shared: Path):
    """YOLOv5n's boxes on images of COCO, one file with crowds and areas of masks.

    AP is below the stated one, whose boxes have scores from 0.001 on.
    """
    reference = json.loads((shared / "reference" / "yolov5n_coco128_val.json").read_text())
    file = shared / "data" / "coco128" / "annotations" / annotations
    ground_truth = json.loads(file.read_text())
    known = {one["id"] for one in ground_truth["images"]}
    boxes = [one for one in reference["detections_score_ge_0_1"] if one["image_id"] in known]
    assert len(boxes) > 500
    plain, fast = both(ground_truth, boxes)
    check_equal(plain, fast, curves=False)
    assert 0.25 < fast.compute().ap < 0.34
    weights = draw(len(known), 20)
    expected, found = plain.resampled(weights), fast.resampled(weights)
    assert np.array_equal(expected.main, found.main)


@pytest.mark.slow
def test_large_sets(rng: np.random.Generator):
    """Fifty images with forty boxes each, near the objects of five classes."""
    images, classes = range(1, 51), range(1, 6)
    ground_truth: dict[str, Any] = {
        "images": [{"id": i} for i in images],
        "categories": [{"id": c, "name": str(c)} for c in classes],
        "annotations": [],
    }
    results = []
    for image in images:
        corners, sides = rng.uniform(0, 500, (8, 2)), rng.uniform(4, 200, (8, 2))
        for corner, side in zip(corners, sides, strict=True):
            one = {"image_id": image, "category_id": int(rng.integers(1, 6))}
            box = [*corner.tolist(), *side.tolist()]
            number = len(ground_truth["annotations"]) + 1
            more = {"id": number, "area": box[2] * box[3], "iscrowd": int(rng.random() < 0.05)}
            ground_truth["annotations"].append({**one, **more, "bbox": box})
            for _ in range(5):
                near = [value + float(rng.normal(0, 6)) for value in box[:2]]
                results.append({**one, "bbox": [*near, *box[2:]], "score": float(rng.random())})
    check_equal(*both(ground_truth, results))


# ------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("metric", ["voc07", "voc10"])
def test_other_metrics_are_refused(metric: str):
    with pytest.raises(DetectorError) as error:
        choose_metric("detect", metric, "faster-coco-eval")
    assert str(error.value) == "--evaluator faster-coco-eval computes COCO AP alone; omit it"
    assert choose_metric("detect", "coco", "faster-coco-eval")({"images": []}, (), ()).library == (
        "faster-coco-eval"
    )


def test_a_classifier_is_refused():
    with pytest.raises(DetectorError, match="computes COCO AP alone; omit it"):
        choose_metric("classify", None, "faster-coco-eval")
    assert choose_metric("classify", None) is ClassificationEvaluator


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DetectorError) as error:
        by_library(CocoEvaluator, "faster-coco-eval")
    assert str(error.value) == (
        'faster_coco_eval is not installed; run: pip install "repdet[faster]"'
    )
    assert by_library(CocoEvaluator, "pycocotools") is CocoEvaluator
