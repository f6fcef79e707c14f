"""COCO AP on cases small enough to count by hand."""

import json

import numpy as np
import pytest

from detector.evaluation.coco import CocoEvaluator
from detector.structures.detections import Detections

GROUND_TRUTH = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 100},
        {"id": 9, "file_name": "b.jpg", "width": 100, "height": 100},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 90,
            "bbox": [10, 10, 40, 40],
            "area": 1600,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 9,
            "category_id": 90,
            "bbox": [20, 20, 40, 40],
            "area": 1600,
            "iscrowd": 0,
        },
    ],
}
NAMES = ("cat", "dog")


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(sorted(rows, key=lambda row: -row[4]), np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int64),
        NAMES,
    )


def evaluator() -> CocoEvaluator:
    return CocoEvaluator(GROUND_TRUTH, category_ids=(3, 90), image_ids=(7, 9))


def test_perfect_detections_have_ap_one():
    e = evaluator()
    e.add(7, detections((10, 10, 50, 50, 0.9, 1)))
    e.add(9, detections((20, 20, 60, 60, 0.8, 1)))
    metrics = e.compute()
    assert metrics.ap == pytest.approx(1.0)
    assert metrics.per_class == {"cat": -1.0, "dog": pytest.approx(1.0)}


def test_one_of_two_found_has_half_the_recall():
    e = evaluator()
    e.add(7, detections((10, 10, 50, 50, 0.9, 1)))
    # precision 1 up to recall .5: 51 of the 101 recall points (0, .01 … .5)
    assert e.compute().ap == pytest.approx(51 / 101)


def test_a_shifted_box_counts_at_the_thresholds_that_it_reaches():
    e = evaluator()
    # shift by 8 of 40: overlap 32·40, union 48·40, IoU .667: thresholds .50 .55 .60 .65 of ten
    e.add(7, detections((18, 10, 58, 50, 0.9, 1)))
    e.add(9, detections((28, 20, 68, 60, 0.8, 1)))
    metrics = e.compute()
    assert metrics.ap == pytest.approx(0.4)
    assert metrics.summary["AP50"] == pytest.approx(1.0)
    assert metrics.summary["AP75"] == pytest.approx(0.0)


def test_a_wrong_class_counts_as_missed():
    e = evaluator()
    e.add(7, detections((10, 10, 50, 50, 0.9, 0)))
    e.add(9, detections((20, 20, 60, 60, 0.8, 0)))
    assert e.compute().ap == 0.0


def test_no_detections_at_all():
    e = evaluator()
    metrics = e.compute()
    assert metrics.ap == 0.0
    assert set(metrics.summary) == {
        *("AP", "AP50", "AP75", "APs", "APm", "APl"),
        *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    }


def test_reset_forgets_boxes_and_keeps_the_ground_truth():
    e = evaluator()
    e.add(7, detections((10, 10, 50, 50, 0.9, 1)))
    e.reset()
    assert e.results == []
    assert e.compute().ap == 0.0


def test_ids_are_those_of_the_annotation_file():
    e = evaluator()
    e.add(7, detections((10, 10, 50, 50, 0.9, 1)))
    assert e.results == [
        {"image_id": 7, "category_id": 90, "bbox": [10, 10, 40, 40], "score": pytest.approx(0.9)}
    ]


def test_metrics_can_be_written_as_json():
    e = evaluator()
    assert json.loads(json.dumps(e.compute().to_dict()))["per_class"] == {"cat": -1, "dog": 0}


def test_a_crowd_region_neither_counts_nor_hurts():
    crowd = {
        **GROUND_TRUTH,
        "annotations": [
            GROUND_TRUTH["annotations"][0],
            {**GROUND_TRUTH["annotations"][1], "iscrowd": 1},
        ],
    }
    e = CocoEvaluator(crowd, (3, 90), (7, 9))
    e.add(7, detections((10, 10, 50, 50, 0.9, 1)))
    e.add(9, detections((20, 20, 40, 40, 0.95, 1), (30, 30, 50, 50, 0.94, 1)))
    assert e.compute().ap == pytest.approx(1.0)


def test_boxes_over_the_limit_of_coco_are_counted():
    e = evaluator()
    scores = np.linspace(0.9, 0.1, 103).tolist()
    e.add(7, detections(*((10, 10, 50, 50, score, 1) for score in scores)))
    e.add(9, detections(*((20, 20, 60, 60, score, 1) for score in scores[:101])))
    metrics = e.compute()
    assert metrics.left_out == 4  # 103 − 100 and 101 − 100
    assert metrics.note == (
        "COCO AP counts the 100 best boxes of a class in an image: 4 others are left out"
    )
    assert "left_out" not in metrics.to_dict()
