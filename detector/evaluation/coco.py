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

from detector.structures.detections import Detections

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALL_NAMES = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class CocoMetrics:
    """The twelve COCO metrics, as fractions, and AP per class.

    A metric is −1 where there is no truth to measure it on (no small objects, say).
    """

    summary: dict[str, float]
    per_class: dict[str, float]

    title = "COCO AP (pycocotools)"
    per_class_title = "AP"

    @property
    def ap(self) -> float:
        """AP at IoU .50:.05:.95, the main metric."""
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

    metrics = METRIC_NAMES + RECALL_NAMES

    def __init__(
        self,
        ground_truth: dict[str, Any],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
    ) -> None:
        self.category_ids = tuple(category_ids)
        self.image_ids = list(image_ids)
        self.results: list[dict[str, Any]] = []
        self._ground_truth = COCO()
        self._ground_truth.dataset = cast(Any, {"info": {}, **ground_truth})
        with contextlib.redirect_stdout(io.StringIO()):
            self._ground_truth.createIndex()

    def reset(self) -> None:
        """Forget all boxes; the truth stays."""
        self.results = []

    def add(self, image_id: int, detections: Detections) -> None:
        """Take the boxes of one image."""
        self.results.extend(detections.to_coco(image_id, self.category_ids))

    def category_name(self, category_id: int) -> str:
        """The name in the truth."""
        return str(self._ground_truth.cats[category_id]["name"])

    def compute(self) -> CocoMetrics:
        """Compare everything that was added with the truth."""
        evaluation = self.evaluation()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.summarize()
        stats = np.asarray(evaluation.stats).tolist()
        # precision: (IoU thresholds, recalls, classes, areas, detection limits); −1 is "no truth"
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        per_class = {}
        for k, category_id in enumerate(evaluation.params.catIds):
            valid = precision[:, :, k][precision[:, :, k] > -1]
            name = self.category_name(category_id)
            per_class[name] = float(valid.mean()) if valid.size else -1.0
        return CocoMetrics(dict(zip(METRIC_NAMES + RECALL_NAMES, stats, strict=True)), per_class)

    def evaluation(
        self, by_class: bool = True, iou: float | None = None, confidence: float = 0.0
    ) -> COCOeval:
        """Everything that was added, matched and accumulated by pycocotools.

        Args:
            by_class: match boxes and objects of the same class only.
            iou: at this threshold alone; default: at COCO's ten.
            confidence: leave out boxes of a lower score.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._ground_truth, self._found(confidence), "bbox")
            evaluation.params.imgIds = sorted(self.image_ids)
            evaluation.params.useCats = int(by_class)
            if iou is not None:
                evaluation.params.iouThrs = np.array([iou])
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation

    def _found(self, confidence: float) -> COCO:
        """What was added, in pycocotools' form."""
        found = COCO()
        kept = (result for result in self.results if result["score"] >= confidence)
        boxes: dict[str, Any] = {
            "images": self._ground_truth.dataset["images"],
            "categories": self._ground_truth.dataset["categories"],
            "annotations": [
                {**box, "id": number, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
                for number, box in enumerate(kept, start=1)
            ],
        }
        found.dataset = cast(Any, boxes)
        found.createIndex()
        return found
