"""COCO AP, computed by pycocotools on boxes in pixels of the original images."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.evaluation.intervals import Floats, Weights, resampled_ap
from detector.structures.detections import Detections

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALL_NAMES = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100
"""Number of boxes of a class in an image that COCO's AP counts, the best ones."""


@dataclass(frozen=True)
class CocoMetrics:
    """The twelve COCO metrics, as fractions, and AP per class.

    A metric is −1 if there is no ground truth to measure it on, for example no small objects.

    Attributes:
        summary: metrics by name: AP, AP50, …, ARl.
        per_class: AP by class name.
        left_out: number of boxes beyond the best ones that COCO counts.
    """

    summary: dict[str, float]
    per_class: dict[str, float]
    left_out: int = 0

    title = "COCO AP (pycocotools)"
    per_class_title = "AP"

    @property
    def note(self) -> str:
        """Line that says how many boxes COCO's limit has left out, or nothing."""
        if not self.left_out:
            return ""
        return (
            f"COCO AP counts the {MAX_DETECTIONS} best boxes of a class in an image: "
            f"{self.left_out} others are left out"
        )

    @property
    def ap(self) -> float:
        """AP at IoU .50:.05:.95, the main metric."""
        return self.summary["AP"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**self.summary, "per_class": dict(self.per_class)}


class Parts(NamedTuple):
    """Parts of an evaluation set to measure in place of the whole.

    Attributes:
        image_ids: some of the images; None: all of them.
        areas: ranges of the area of objects, pixels²; None: COCO's four.
    """

    image_ids: Sequence[int] | None = None
    areas: Sequence[tuple[float, float]] | None = None


WHOLE = Parts()
"""All images, in COCO's ranges of areas."""


class CocoEvaluator:
    """Evaluator that computes COCO AP by pycocotools.

    Args:
        ground_truth: COCO annotation dictionary; its category ids are used unchanged.
        category_ids: category id of each class of the model, in the order of its class ids.
        image_ids: images to evaluate, including images without boxes.
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
        """Remove all boxes; keep the ground truth."""
        self.results = []

    def add(self, image_id: int, detections: Detections) -> None:
        """Add the boxes of one image."""
        self.results.extend(detections.to_coco(image_id, self.category_ids))

    def category_name(self, category_id: int) -> str:
        """Return the name of a category of the ground truth."""
        return str(self._ground_truth.cats[category_id]["name"])

    def compute(self) -> CocoMetrics:
        """Compare all boxes with the ground truth."""
        evaluation = self.evaluation()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.summarize()
        stats = np.asarray(evaluation.stats).tolist()
        # precision: (IoU thresholds, recalls, classes, areas, max detections); −1: no ground truth
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        per_class = {}
        for k, category_id in enumerate(evaluation.params.catIds):
            valid = precision[:, :, k][precision[:, :, k] > -1]
            name = self.category_name(category_id)
            per_class[name] = float(valid.mean()) if valid.size else -1.0
        summary = dict(zip(METRIC_NAMES + RECALL_NAMES, stats, strict=True))
        return CocoMetrics(summary, per_class, self._left_out())

    def resampled(self, weights: Weights) -> Floats:
        """Return AP on each resample of the images; see :func:`resampled_ap`.

        Args:
            weights: (resamples, images) how often each of ``image_ids`` was drawn.
        """
        order = np.argsort(self.image_ids, kind="stable")  # that of pycocotools
        return resampled_ap(self.evaluation(), weights[:, order])

    def evaluation(
        self,
        by_class: bool = True,
        iou: float | None = None,
        confidence: float = 0.0,
        all_boxes: bool = False,
        parts: Parts = WHOLE,
    ) -> COCOeval:
        """Match all boxes with the ground truth by pycocotools, and accumulate the results.

        Args:
            by_class: match boxes and objects of the same class only.
            iou: the only IoU threshold; default: COCO's ten thresholds.
            confidence: minimum score of a box.
            all_boxes: match all boxes of an image; default: those that COCO counts.
            parts: images, and ranges of the objects' areas, in place of COCO's.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._ground_truth, self._found(confidence), "bbox")
            chosen = self.image_ids if parts.image_ids is None else parts.image_ids
            evaluation.params.imgIds = sorted(chosen)
            evaluation.params.useCats = int(by_class)
            if iou is not None:
                evaluation.params.iouThrs = np.array([iou])
            if all_boxes:
                evaluation.params.maxDets = [1, 10, max(MAX_DETECTIONS, len(self.results))]
            if parts.areas is not None:
                evaluation.params.areaRng = [list(area) for area in parts.areas]
                evaluation.params.areaRngLbl = [str(n) for n, _ in enumerate(parts.areas)]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation

    def _left_out(self) -> int:
        """Return the number of boxes beyond COCO's limit for a class in an image."""
        counts = Counter((box["image_id"], box["category_id"]) for box in self.results)
        return sum(max(count - MAX_DETECTIONS, 0) for count in counts.values())

    def boxes_of_other_classes(self) -> int:
        """Return the number of boxes whose class the ground truth lacks, which are left out."""
        known = self._ground_truth.cats
        return sum(result["category_id"] not in known for result in self.results)

    def _found(self, confidence: float) -> COCO:
        """Return the boxes with at least this score in pycocotools' format.

        Boxes of classes that the ground truth lacks are left out: COCO's metrics do not count them.
        """
        found, known = COCO(), self._ground_truth.cats
        kept = (
            result
            for result in self.results
            if result["score"] >= confidence and result["category_id"] in known
        )
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
