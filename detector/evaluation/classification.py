"""Top-1 and top-5 accuracy: how often the truth is the best class, or among the best five."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.structures.classification import Classification


@dataclass(frozen=True)
class ClassificationMetrics:
    """``top1`` and ``top5`` over all images, and top-1 of each class's, as fractions.

    A metric is −1 where there is no image to measure it on. With up to five classes ``top5`` is 1.
    """

    summary: dict[str, float]
    per_class: dict[str, float]

    title = "accuracy"
    per_class_title = "top1"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self.summary, "per_class": dict(self.per_class)}


class ClassificationEvaluator:
    """Collects the best classes of each image and compares them with its own.

    Args:
        ground_truth: a COCO annotation dictionary with one annotation an image.
        category_ids: of each class of the model, in the order of its class numbers.
        image_ids: the images to count.
    """

    metrics = ("top1", "top5")

    def __init__(
        self,
        ground_truth: dict[str, Any],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
    ) -> None:
        self.category_ids = tuple(category_ids)
        self.results: list[dict[str, Any]] = []
        self._names = {c["id"]: str(c["name"]) for c in ground_truth["categories"]}
        counted = set(image_ids)
        self._ground_truth: dict[int, int] = {
            one["image_id"]: one["category_id"]
            for one in ground_truth["annotations"]
            if one["image_id"] in counted
        }

    def reset(self) -> None:
        """Forget all results; the truth stays."""
        self.results = []

    def add(self, image_id: int, classification: Classification) -> None:
        """Take what was said of one image."""
        ids = [self.category_ids[i] for i in classification.class_ids]
        self.results.append({"image_id": image_id, "category_ids": ids, **classification.to_dict()})

    def compute(self) -> ClassificationMetrics:
        """Compare everything that was added with the truth; an image without a result is wrong."""
        best = {result["image_id"]: result["category_ids"] for result in self.results}
        first = {i: truth in best.get(i, ())[:1] for i, truth in self._ground_truth.items()}
        five = [truth in best.get(i, ()) for i, truth in self._ground_truth.items()]
        per_class = {
            name: _mean([first[i] for i, truth in self._ground_truth.items() if truth == number])
            for number, name in self._names.items()
        }
        summary = {"top1": _mean(list(first.values())), "top5": _mean(five)}
        return ClassificationMetrics(summary, per_class)


def _mean(right: Sequence[bool]) -> float:
    return float(np.mean(right)) if right else -1.0
