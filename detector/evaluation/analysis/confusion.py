"""The confusion matrix, and the classes that are confused most often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.curves import confusion

BACKGROUND = "background"
"""Name of the last row, boxes without an object, and of the last column, missed objects."""

MAX_CONFUSIONS = 20
"""Number of confusions that a list of the most frequent ones shows."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Numbers of boxes by the object's class and the class found.

    Attributes:
        names: of the k classes of the data.
        counts: (k + 1, k + 1): a row for each labelled class, then the background; a column for
            each found class, then missed. The row of a class adds up to its objects, crowds left
            out.
        iou: IoU from which a box lies on an object.
        confidence: lowest score of a box.
    """

    names: list[str]
    counts: NDArray[np.int64]
    iou: float
    confidence: float

    def most_frequent(self) -> list[tuple[str, str, int]]:
        """Return (true class, class found, number) of confusions, most frequent first."""
        between = self.counts[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        order = np.argsort(-between, axis=None, kind="stable")[:MAX_CONFUSIONS]
        pairs = zip(*np.unravel_index(order, between.shape), strict=True)
        return [
            (self.names[row], self.names[column], int(between[row, column]))
            for row, column in pairs
            if between[row, column]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "iou": self.iou,
            "confidence": self.confidence,
            "labelled": [*self.names, BACKGROUND],
            "found": [*self.names, BACKGROUND],
            "counts": self.counts.tolist(),
        }


def confusion_matrix(evaluator: CocoEvaluator, iou: float, confidence: float) -> ConfusionMatrix:
    """Match boxes to objects whatever their classes, by pycocotools, and count the pairs."""
    names, counts = confusion(evaluator, iou, confidence)
    return ConfusionMatrix(names, counts, iou, confidence)
