"""Top-1 and top-5 accuracy: how often the true class is the best one, or among the best five."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.evaluation.intervals import Resampled, Weights, resampled_mean
from detector.structures.classification import Classification


@dataclass(frozen=True)
class ClassificationMetrics:
    """Top-1 and top-5 accuracy over all images, and top-1 accuracy per class, as fractions.

    A metric is −1 if there is no image to measure it on. With up to five classes ``top5`` is 1.

    Attributes:
        summary: ``top1`` and ``top5``.
        per_class: top-1 accuracy by class name.
    """

    summary: dict[str, float]
    per_class: dict[str, float]

    title = "accuracy"
    per_class_title = "top1"
    note = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**self.summary, "per_class": dict(self.per_class)}


class ClassificationEvaluator:
    """Evaluator that compares the best classes of each image with its true class.

    Args:
        ground_truth: COCO annotation dictionary with one annotation per image.
        category_ids: category id of each class of the model, in the order of its class ids.
        image_ids: images to evaluate.
    """

    metrics = ("top1", "top5")

    def __init__(
        self,
        ground_truth: dict[str, Any],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
    ) -> None:
        self.category_ids = tuple(category_ids)
        self.image_ids = list(image_ids)
        self.results: list[dict[str, Any]] = []
        self._names = {c["id"]: str(c["name"]) for c in ground_truth["categories"]}
        counted = set(image_ids)
        self._ground_truth: dict[int, int] = {
            one["image_id"]: one["category_id"]
            for one in ground_truth["annotations"]
            if one["image_id"] in counted
        }

    def reset(self) -> None:
        """Remove all results; keep the ground truth."""
        self.results = []

    def add(self, image_id: int, classification: Classification) -> None:
        """Add the prediction for one image."""
        ids = [self.category_ids[i] for i in classification.class_ids]
        self.results.append({"image_id": image_id, "category_ids": ids, **classification.to_dict()})

    def compute(self) -> ClassificationMetrics:
        """Compare all results with the ground truth; an image without a result counts as wrong."""
        best = {result["image_id"]: result["category_ids"] for result in self.results}
        top1 = {i: category in best.get(i, ())[:1] for i, category in self._ground_truth.items()}
        top5 = [category in best.get(i, ()) for i, category in self._ground_truth.items()]
        per_class = {
            name: _mean(
                [top1[i] for i, category in self._ground_truth.items() if category == number]
            )
            for number, name in self._names.items()
        }
        summary = {"top1": _mean(list(top1.values())), "top5": _mean(top5)}
        return ClassificationMetrics(summary, per_class)

    def resampled(self, weights: Weights) -> Resampled:
        """Return top-1 and top-5 accuracy and each class's top-1 on resamples of the images.

        Args:
            weights: (resamples, images) how often each of ``image_ids`` was drawn.
        """
        best = {result["image_id"]: result["category_ids"] for result in self.results}
        category = np.array([self._ground_truth[i] for i in self.image_ids])
        top1 = np.array([self._ground_truth[i] in best.get(i, ())[:1] for i in self.image_ids])
        top5 = np.array([self._ground_truth[i] in best.get(i, ()) for i in self.image_ids])
        return Resampled(
            {"top1": resampled_mean(top1, weights), "top5": resampled_mean(top5, weights)},
            {
                name: resampled_mean(top1[category == number], weights[:, category == number])
                for number, name in self._names.items()
            },
        )


def _mean(right: Sequence[bool]) -> float:
    return float(np.mean(right)) if right else -1.0
