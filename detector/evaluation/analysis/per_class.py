"""Precision, recall and F1 of each class over the confidence, and the best confidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.evaluation.analysis.average_precision import class_ap50, outcomes
from detector.evaluation.analysis.matches import Booleans, Floats, Indices, Matches
from detector.evaluation.curves import precision_by_recall

CONFIDENCES: Floats = np.linspace(0, 1, 101)
"""Confidences at which the curves are sampled."""

ALL = "all classes"
"""Name of the row in which the boxes and objects of all classes are counted together."""


@dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and F1 at a confidence.

    Attributes:
        confidence: lowest score that is kept.
        precision: share of the boxes that are right; None without boxes.
        recall: share of the objects that are found; None without objects.
        f1: harmonic mean of both; 0 where one of them is 0 or missing.
    """

    confidence: float
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True)
class ClassCurves:
    """One class, or all of them together, at IoU 0.5.

    Attributes:
        name: of the class.
        objects: number of objects.
        boxes: number of boxes at any confidence.
        ap50: COCO's AP50; −1 without objects.
        chosen: at the confidence that the analysis was asked for.
        best: at the confidence of the best F1; None where no box is right.
        precision: (101,) at :data:`CONFIDENCES`; NaN without boxes.
        recall: (101,); NaN without objects.
        f1: (101,).
        precision_by_recall: (101,) at recalls 0, 0.01, …, 1, as COCO reads it; empty for all
            classes together, and for a class without objects.
    """

    name: str
    objects: int
    boxes: int
    ap50: float
    chosen: OperatingPoint
    best: OperatingPoint | None
    precision: Floats
    recall: Floats
    f1: Floats
    precision_by_recall: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "name": self.name,
            "objects": self.objects,
            "boxes": self.boxes,
            "AP50": self.ap50,
            "chosen": asdict(self.chosen),
            "best": None if self.best is None else asdict(self.best),
            "precision": [_or_none(value) for value in self.precision.tolist()],
            "recall": [_or_none(value) for value in self.recall.tolist()],
            "f1": self.f1.tolist(),
            "precision_by_recall": self.precision_by_recall.tolist(),
        }


def per_class(matches: Matches, confidence: float) -> list[ClassCurves]:
    """Return the curves of all classes together, then those of each class.

    Args:
        matches: objects and boxes.
        confidence: lowest score of the point that is shown beside the best one.
    """
    ap50 = class_ap50(matches, outcomes(matches))
    measured = ap50[ap50 > -1]
    by_recall = precision_by_recall(matches.evaluator)
    mean = float(measured.mean()) if len(measured) else -1.0
    result = [_Counted(matches, None).curves(ALL, mean, np.zeros(0), confidence)]
    for number, name in enumerate(matches.names):
        curve = by_recall.get(name, np.zeros(0))
        counted = _Counted(matches, number)
        result.append(counted.curves(name, float(ap50[number]), curve, confidence))
    return result


class _Counted:
    """Boxes of a class, or of all classes, by ascending score, and the number of objects."""

    def __init__(self, matches: Matches, class_id: int | None) -> None:
        boxes, objects = matches.boxes, matches.objects
        places = np.flatnonzero(~boxes.ignored & _is_of(class_id, boxes.class_id))
        places = places[np.argsort(boxes.scores[places], kind="stable")]
        self.scores = boxes.scores[places]
        self.objects = int((~objects.ignored & _is_of(class_id, objects.class_id)).sum())
        self._right_from = np.append(np.cumsum(boxes.right[places][::-1])[::-1], 0)

    def curves(self, name: str, ap50: float, by_recall: Floats, confidence: float) -> ClassCurves:
        """Return the curves of these boxes, under the name of their class."""
        return ClassCurves(
            name,
            self.objects,
            len(self.scores),
            ap50,
            self.point(confidence),
            self.best(),
            *self.at(CONFIDENCES),
            by_recall,
        )

    def at(self, confidences: Floats) -> tuple[Floats, Floats, Floats]:
        """Return precision, recall and F1 of the boxes with at least each confidence."""
        first = np.searchsorted(self.scores, confidences, side="left")
        right = self._right_from[first].astype(np.float64)
        kept = len(self.scores) - first
        with np.errstate(invalid="ignore"):
            precision, recall = right / kept, right / np.full(len(right), float(self.objects))
        total = kept + self.objects
        f1 = np.divide(2 * right, total, out=np.zeros(len(right)), where=total > 0)
        return precision, recall, f1

    def point(self, confidence: float) -> OperatingPoint:
        precision, recall, f1 = (float(one[0]) for one in self.at(np.array([confidence])))
        return OperatingPoint(confidence, _or_none(precision), _or_none(recall), f1)

    def best(self) -> OperatingPoint | None:
        """Return the point with the best F1; of equal ones that with the highest confidence."""
        if not self._right_from[0]:
            return None
        f1 = self.at(self.scores)[2]
        return self.point(float(self.scores[len(f1) - 1 - f1[::-1].argmax()]))


def _is_of(class_id: int | None, class_ids: Indices) -> Booleans:
    """Return True for rows of a class; None stands for all classes."""
    if class_id is None:
        return np.ones(len(class_ids), np.bool_)
    return np.asarray(class_ids == class_id, np.bool_)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
