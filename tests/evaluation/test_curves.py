"""Precision by recall and confusions on cases small enough to count by hand."""

import numpy as np
import pytest

from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.curves import confusion, precision_by_recall
from detector.structures.detections import Detections

NAMES = ("cat", "dog")
CATEGORIES = (3, 90)


def evaluator(*objects: tuple[int, int, list[int], int]) -> CocoEvaluator:
    """Of (image, category, bbox, crowd)."""
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": crowd,
        }
        for number, (image, category, bbox, crowd) in enumerate(objects, 1)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 100} for i in (7, 9)]
    categories = [{"id": c, "name": n} for c, n in zip(CATEGORIES, NAMES, strict=True)]
    coco = {"images": images, "categories": categories, "annotations": annotations}
    return CocoEvaluator(coco, CATEGORIES, (7, 9))


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(int),
        NAMES,
    )


def test_precision_by_recall():
    e = evaluator((7, 90, [10, 10, 40, 40], 0), (9, 90, [20, 20, 40, 40], 0))
    # By score: right (precision 1/1, recall 1/2), wrong (1/2), right (2/3, recall 2/2).
    e.add(7, detections((10, 10, 50, 50, 0.9, 1), (60, 60, 90, 90, 0.8, 1)))
    e.add(9, detections((20, 20, 60, 60, 0.7, 1)))
    curves = precision_by_recall(e)
    assert list(curves) == ["dog"]  # there is no cat
    assert curves["dog"][:51] == pytest.approx(1.0)  # recalls 0 … 0.50
    assert curves["dog"][51:] == pytest.approx(2 / 3)


def test_nothing_found_is_precision_zero():
    assert not precision_by_recall(evaluator((7, 3, [10, 10, 40, 40], 0)))["cat"].any()


def test_confusion():
    e = evaluator(
        (7, 3, [0, 0, 40, 40], 0),  # found as cat
        (7, 3, [50, 50, 40, 40], 0),  # found as dog
        (7, 90, [0, 60, 30, 30], 0),  # missed: its box has a score below 0.25
        (9, 90, [0, 0, 50, 50], 1),  # a crowd: what lies in it counts neither way
    )
    boxes = [
        (0, 0, 40, 40, 0.9, 0),
        (50, 50, 90, 90, 0.8, 1),
        (60, 0, 90, 30, 0.5, 1),  # on nothing
        (0, 60, 30, 90, 0.2, 1),
    ]
    e.add(7, detections(*boxes))
    e.add(9, detections((0, 0, 50, 50, 0.9, 1)))
    names, counts = confusion(e)
    assert names == ["cat", "dog"]
    assert counts.tolist() == [
        [1, 1, 0],  # cats: found as cat, as dog, missed
        [0, 0, 1],
        [0, 1, 0],  # nothing: taken for a dog once
    ]


def test_confusion_of_nothing():
    assert not confusion(evaluator())[1].any()


def test_confusion_counts_all_boxes():
    """More than the 100 boxes of an image that COCO's AP counts."""
    boxes = [(10 * (i % 20), 10 * (i // 20), i % 2) for i in range(150)]
    e = evaluator(*((7, CATEGORIES[c], [x, y, 8, 8], 0) for x, y, c in boxes))
    e.add(
        7,
        detections(*((x, y, x + 8, y + 8, 0.9 - i / 1000, c) for i, (x, y, c) in enumerate(boxes))),
    )
    assert confusion(e)[1].tolist() == [[75, 0, 0], [0, 75, 0], [0, 0, 0]]
    assert e.compute().note == ""  # 75 of each class: COCO leaves out none
