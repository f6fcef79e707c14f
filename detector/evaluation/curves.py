"""What stands behind an AP: precision by recall of each class, and which class is taken for which.

Both are read off pycocotools' own matching, at IoU 0.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.coco import CocoEvaluator

IOU = 0.5
CONFIDENCE = 0.25
"""Lowest score of a box that the confusion matrix counts, as detect's default."""
RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)
"""COCO's recall thresholds."""


def precision_by_recall(evaluator: CocoEvaluator) -> dict[str, NDArray[np.float64]]:
    """(101,) precision at :data:`RECALLS` of each class that has a truth."""
    evaluation = evaluator.evaluation()
    at_half = int(np.flatnonzero(np.isclose(evaluation.params.iouThrs, IOU))[0])
    # (IoU thresholds, recalls, classes, areas, detection limits); −1 is "no truth"
    precision = evaluation.eval["precision"][at_half, :, :, 0, -1]
    names = [evaluator.category_name(number) for number in evaluation.params.catIds]
    return {name: curve for name, curve in zip(names, precision.T, strict=True) if curve[0] > -1}


def confusion(evaluator: CocoEvaluator) -> tuple[list[str], NDArray[np.int64]]:
    """How often the objects of a class were found as which class.

    Boxes are matched to the truth by place alone, best score first; crowds are left out.

    Returns:
        The names of the k classes of the data, and (k + 1, k + 1) counts: a row for each true
        class, the last one for what is none; a column for each class found, the last one for
        what was missed.
    """
    evaluation = evaluator.evaluation(by_class=False, iou=IOU, confidence=CONFIDENCE)
    numbers = sorted(evaluation.cocoGt.cats)
    place: dict[int | None, int] = {number: index for index, number in enumerate(numbers)}
    place[None] = len(numbers)
    counts = np.zeros((len(numbers) + 1, len(numbers) + 1), np.int64)
    for image in evaluation.evalImgs[: len(evaluation.params.imgIds)]:  # those of all areas
        for true, found in _pairs(image, evaluation) if image is not None else ():
            counts[place[true], place[found]] += 1
    return [evaluator.category_name(number) for number in numbers], counts


def _pairs(image: Any, evaluation: Any) -> list[tuple[int | None, int | None]]:
    """(true, found) category ids of an image; None for none."""
    truth, boxes = evaluation.cocoGt.anns, evaluation.cocoDt.anns
    found: list[tuple[int | None, int | None]] = [
        (truth[int(match)]["category_id"] if match else None, boxes[number]["category_id"])
        for number, match, ignored in zip(
            image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True
        )
        if not ignored
    ]
    missed: list[tuple[int | None, int | None]] = [
        (truth[number]["category_id"], None)
        for number, match, ignored in zip(
            image["gtIds"], image["gtMatches"][0], image["gtIgnore"], strict=True
        )
        if not match and not ignored
    ]
    return found + missed
