"""COCO AP, computed by pycocotools on boxes in pixels of the original images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.detections import Detections

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALLS = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class CocoFigures:
    """The twelve COCO figures, as fractions, and AP per class.

    A figure is −1 where there is no truth to measure it on (no small objects, say).
    """

    summary: dict[str, float]
    per_class: dict[str, float]

    title = "COCO AP (pycocotools)"
    per_class_title = "AP"

    @property
    def ap(self) -> float:
        """AP at IoU .50:.05:.95, the main figure."""
        return self.summary["AP"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self.summary, "per_class": dict(self.per_class)}


class CocoEvaluator:
    """Collects the boxes of each image and compares them with the truth.

    Args:
        ground_truth: a COCO annotation dictionary; its category ids are used as they are.
        category_ids: of each class of the model, in the order of its class numbers.
        image_ids: the images to count; an image without boxes counts too.
    """

    figures = FIGURES + RECALLS

    def __init__(
        self,
        ground_truth: dict[str, Any],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
    ) -> None:
        self.category_ids = tuple(category_ids)
        self.image_ids = list(image_ids)
        self.results: list[dict[str, Any]] = []
        self._truth = COCO()
        self._truth.dataset = cast(Any, {"info": {}, **ground_truth})
        with contextlib.redirect_stdout(io.StringIO()):
            self._truth.createIndex()

    def reset(self) -> None:
        """Forget all boxes; the truth stays."""
        self.results = []

    def add(self, image_id: int, detections: Detections) -> None:
        """Take the boxes of one image."""
        self.results.extend(detections.to_coco(image_id, self.category_ids))

    def compute(self) -> CocoFigures:
        """Compare everything that was added with the truth."""
        evaluation = self._evaluate()
        summary = dict(zip(FIGURES + RECALLS, map(float, evaluation.stats), strict=True))
        names = {category["id"]: category["name"] for category in self._truth.dataset["categories"]}
        # precision: (IoU thresholds, recalls, classes, areas, detection limits); −1 is "no truth"
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        per_class = {}
        for k, category_id in enumerate(evaluation.params.catIds):
            valid = precision[:, :, k][precision[:, :, k] > -1]
            per_class[str(names[category_id])] = float(valid.mean()) if valid.size else -1.0
        return CocoFigures(summary, per_class)

    def _evaluate(self) -> COCOeval:
        with contextlib.redirect_stdout(io.StringIO()):
            found = COCO()
            boxes: dict[str, Any] = {
                "images": self._truth.dataset["images"],
                "categories": self._truth.dataset["categories"],
                "annotations": [
                    {
                        **result,
                        "id": number,
                        "area": result["bbox"][2] * result["bbox"][3],
                        "iscrowd": 0,
                    }
                    for number, result in enumerate(self.results, start=1)
                ],
            }
            found.dataset = cast(Any, boxes)
            found.createIndex()
            evaluation = COCOeval(self._truth, found, "bbox")
            evaluation.params.imgIds = sorted(self.image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        evaluation.stats = np.asarray(evaluation.stats)
        return evaluation
