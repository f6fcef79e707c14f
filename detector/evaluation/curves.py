"""Precision-recall curves and the confusion matrix, from pycocotools' matching at IoU 0.5."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.coco import CocoEvaluator

IOU = 0.5
CONFIDENCE = 0.25
"""Minimum score of a box in the confusion matrix; the default of ``detect``."""
RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)
"""COCO's recall thresholds."""


def precision_by_recall(evaluator: CocoEvaluator) -> dict[str, NDArray[np.float64]]:
    """Return (101,) precisions at :data:`RECALLS` for each class with ground truth, by name."""
    evaluation = evaluator.evaluation()
    at_half = int(np.flatnonzero(np.isclose(evaluation.params.iouThrs, IOU))[0])
    # (IoU thresholds, recalls, classes, areas, max detections); −1: no ground truth
    precision = evaluation.eval["precision"][at_half, :, :, 0, -1]
    names = [evaluator.category_name(number) for number in evaluation.params.catIds]
    return {name: curve for name, curve in zip(names, precision.T, strict=True) if curve[0] > -1}


def confusion(
    evaluator: CocoEvaluator, iou: float = IOU, confidence: float = CONFIDENCE
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the confusion matrix.

    All boxes are matched to objects by IoU alone, in the order of scores; crowds are left out.

    Args:
        evaluator: has the boxes and the objects.
        iou: IoU from which a box lies on an object.
        confidence: minimum score of a box.

    Returns:
        The names of the k classes of the data, and (k + 1, k + 1) counts: a row for each true
        class, the last one for boxes without an object; a column for each predicted class, the
        last one for missed objects.
    """
    evaluation = evaluator.evaluation(
        by_class=False, iou=iou, confidence=confidence, all_boxes=True
    )
    numbers = sorted(evaluation.cocoGt.cats)
    row: dict[int | None, int] = {number: index for index, number in enumerate(numbers)}
    row[None] = len(numbers)
    counts = np.zeros((len(numbers) + 1, len(numbers) + 1), np.int64)
    for image in evaluation.evalImgs[: len(evaluation.params.imgIds)]:  # the area range "all"
        for true, found in _pairs(image, evaluation) if image is not None else ():
            counts[row[true], row[found]] += 1
    return [evaluator.category_name(number) for number in numbers], counts


def _pairs(image: Any, evaluation: Any) -> list[tuple[int | None, int | None]]:
    """Return (true, predicted) category ids of an image's boxes and missed objects.

    The true id is None for a box without an object, the predicted id for a missed object.
    """
    objects, boxes = evaluation.cocoGt.anns, evaluation.cocoDt.anns
    found: list[tuple[int | None, int | None]] = [
        (objects[int(match)]["category_id"] if match else None, boxes[number]["category_id"])
        for number, match, ignored in zip(
            image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True
        )
        if not ignored
    ]
    missed: list[tuple[int | None, int | None]] = [
        (objects[number]["category_id"], None)
        for number, match, ignored in zip(
            image["gtIds"], image["gtMatches"][0], image["gtIgnore"], strict=True
        )
        if not match and not ignored
    ]
    return found + missed
