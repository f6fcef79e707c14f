"""COCO AP, by pycocotools or its equal, on boxes in pixels of the original images."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.evaluation.faster_coco import FasterCOCOeval
from detector.evaluation.intervals import Floats, Resampled, Weights
from detector.evaluation.resampled_ap import (
    ClassMatches,
    Counts,
    Curve,
    mean_of_present,
    resampled_ap,
)
from detector.settings.values import CocoLibrary
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
        library: library that computed them.
    """

    summary: dict[str, float]
    per_class: dict[str, float]
    left_out: int = 0
    library: CocoLibrary = "pycocotools"

    per_class_title = "AP"

    @property
    def title(self) -> str:
        """Title of the summary."""
        return f"COCO AP ({self.library})"

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

OF_ALL_SIZES = Parts(areas=[(0.0, 1e10)])
"""All images, in the first of COCO's ranges alone, which holds all objects."""


class CocoEvaluator:
    """Evaluator that computes COCO AP.

    Args:
        ground_truth: COCO annotation dictionary; its category ids are used unchanged.
        category_ids: category id of each class of the model, in the order of its class ids.
        image_ids: images to evaluate, including images without boxes.
        library: library that matches and accumulates: pycocotools, or faster-coco-eval, whose
            metrics are the same.
    """

    metrics = METRIC_NAMES + RECALL_NAMES

    def __init__(
        self,
        ground_truth: dict[str, Any],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
        library: CocoLibrary = "pycocotools",
    ) -> None:
        self.library = library
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
        return CocoMetrics(summary, per_class, self._left_out(), self.library)

    def resampled(self, weights: Weights) -> Resampled:
        """Return AP, AP50 and each class's AP on resamples of the images.

        Each is what pycocotools computes on a data set with the images repeated; classes without an
        object in the resample are left out. See :mod:`detector.evaluation.resampled_ap`.

        Args:
            weights: (resamples, images) how often each of ``image_ids`` was drawn.
        """
        order = np.argsort(self.image_ids, kind="stable")  # that of pycocotools
        evaluation = self.evaluation(parts=OF_ALL_SIZES, accumulated=False)
        thresholds, recalls = evaluation.params.iouThrs, evaluation.params.recThrs
        names = [self.category_name(number) for number in evaluation.params.catIds]
        of_classes = [_class_matches(one, len(thresholds)) for one in _by_class(evaluation)]
        found = resampled_ap(of_classes, weights[:, order], _read_at(recalls))
        per_class = np.array([aps.mean(axis=0) for aps in found])
        at_50 = np.array([aps[int(np.argmin(np.abs(thresholds - 0.5)))] for aps in found])
        summary = {"AP": mean_of_present(per_class), "AP50": mean_of_present(at_50)}
        return Resampled(summary, dict(zip(names, per_class, strict=True)))

    def evaluation(
        self,
        by_class: bool = True,
        iou: float | None = None,
        confidence: float = 0.0,
        all_boxes: bool = False,
        parts: Parts = WHOLE,
        accumulated: bool = True,
    ) -> COCOeval:
        """Match all boxes with the ground truth by the library.

        Args:
            by_class: match boxes and objects of the same class only.
            iou: the only IoU threshold; default: COCO's ten thresholds.
            confidence: minimum score of a box.
            all_boxes: match all boxes of an image; default: those that COCO counts.
            parts: images, and ranges of the objects' areas, in place of COCO's.
            accumulated: accumulate the results, too.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            make_evaluation = COCOeval if self.library == "pycocotools" else FasterCOCOeval
            evaluation = make_evaluation(self._ground_truth, self._found(confidence), "bbox")
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
            if accumulated:
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


def _by_class(evaluation: COCOeval) -> Iterator[list[dict[str, Any] | None]]:
    """Yield the matches of each class: those of each image, for objects of all sizes."""
    images = len(evaluation.params.imgIds)
    found = cast(list[dict[str, Any] | None], evaluation.evalImgs)
    for start in range(0, len(found), images):
        yield found[start : start + images]


def _class_matches(images: list[dict[str, Any] | None], thresholds: int) -> ClassMatches:
    """Return one class's matches from those of each image, at a number of IoU thresholds."""
    found = [(i, one) for i, one in enumerate(images) if one is not None]
    objects = np.zeros(len(images), np.int32)
    for i, one in found:
        objects[i] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
    with_boxes = [(i, one) for i, one in found if one["dtScores"]]
    counts = [len(one["dtScores"]) for _, one in with_boxes]
    image = np.repeat(np.array([i for i, _ in with_boxes], np.intp), counts)
    scores = np.concatenate([np.zeros(0), *(one["dtScores"] for _, one in with_boxes)])
    none = np.zeros((thresholds, 0), np.bool_)
    matched = np.concatenate([none, *(one["dtMatches"] != 0 for _, one in with_boxes)], axis=1)
    ignored = np.concatenate([none, *(one["dtIgnore"] != 0 for _, one in with_boxes)], axis=1)
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools does
    counted = ~ignored[:, order]
    return ClassMatches(image[order], scores[order], counted, matched[:, order] & counted, objects)


def _read_at(recalls: Floats) -> Curve:
    """Return COCO's curve: precision is read at recalls in equal steps."""

    def shares(true: Counts, objects: Counts) -> Floats:
        reached = np.searchsorted(recalls, true / objects, side="right")
        reached[true == 0] = 0  # a recall of 0 is reached by the first detection that is there
        return np.diff(reached, axis=1, prepend=0) / len(recalls)

    return shares
