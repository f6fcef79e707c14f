"""All analyses of a network on an evaluation set, in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.evaluation.analysis.bins import Bins, bins
from detector.evaluation.analysis.calibration import Calibration, calibration
from detector.evaluation.analysis.confusion import ConfusionMatrix, confusion_matrix
from detector.evaluation.analysis.error_types import ErrorTypes, error_types
from detector.evaluation.analysis.label_errors import LabelError, label_errors
from detector.evaluation.analysis.matches import IOU, match
from detector.evaluation.analysis.per_class import ClassCurves, per_class
from detector.evaluation.analysis.worst_images import WorstImages, worst_images
from detector.evaluation.coco import CocoEvaluator, CocoMetrics


@dataclass(frozen=True)
class Analysis:
    """A network's strengths and mistakes on an evaluation set, and probably wrong labels.

    Attributes:
        metrics: COCO's metrics.
        confidence: lowest score of a box that a person is shown.
        files: name of each image by its id.
        notes: lines on what the numbers leave out.
        curves: all classes together, then each class.
        confusion: pairs of classes.
        errors: error types after TIDE.
        bins: AP by size, brightness and crowding.
        calibration: scores against the share of right boxes.
        worst: images with the most mistakes.
        label_errors: probably wrong labels, the most suspicious first.
    """

    metrics: CocoMetrics
    confidence: float
    files: Mapping[int, str]
    notes: tuple[str, ...]
    curves: list[ClassCurves]
    confusion: ConfusionMatrix
    errors: ErrorTypes
    bins: Bins
    calibration: Calibration
    worst: WorstImages
    label_errors: list[LabelError]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; images are told by their ids, with their names."""
        return {
            "metrics": self.metrics.to_dict(),
            "images": len(self.files),
            "confidence": self.confidence,
            "notes": list(self.notes),
            "classes": [one.to_dict() for one in self.curves],
            "confusion": self.confusion.to_dict(),
            "error_types": self.errors.to_dict(),
            "bins": self.bins.to_dict(),
            "calibration": self.calibration.to_dict(),
            "worst_images": self.worst.to_dict(),
            "label_errors": [self.label_row(one) for one in self.label_errors],
            "files": {str(number): name for number, name in self.files.items()},
        }

    def label_row(self, error: LabelError) -> dict[str, Any]:
        """Return a probably wrong label as plain values, with the name of its image."""
        return {"image": self.files[error.image_id], **error.to_dict()}


def analyse(
    evaluator: CocoEvaluator,
    confidence: float,
    brightness: Mapping[int, float],
    files: Mapping[int, str],
) -> Analysis:
    """Analyse an evaluator's results.

    Args:
        evaluator: has the boxes and the objects.
        confidence: lowest score of a box that a person is shown.
        brightness: mean of the pixels of each image, 0 to 255, by its id.
        files: name of each image by its id.
    """
    matches = match(evaluator)
    metrics = evaluator.compute()
    others = evaluator.boxes_of_other_classes()
    notes = [
        metrics.note,
        f"boxes of classes that the data lack, left out: {others}" if others else "",
    ]
    return Analysis(
        metrics=metrics,
        confidence=confidence,
        files=files,
        notes=tuple(filter(None, notes)),
        curves=per_class(matches, confidence),
        confusion=confusion_matrix(evaluator, IOU, confidence),
        errors=error_types(matches),
        bins=bins(matches, brightness),
        calibration=calibration(matches, confidence),
        worst=worst_images(matches, confidence),
        label_errors=label_errors(matches, confidence),
    )
