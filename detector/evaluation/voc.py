"""Pascal VOC's mean AP at IoU 0.5: 11 points as in VOC2007, or area as from VOC2010 on.

The rules are those of the challenge's development kit (VOCevaldet.m; Everingham et al., IJCV 2010,
section 4.2). Each detection is assigned to the object that it overlaps most. The best detection of
an object is a true positive, any further one a false positive; detections of objects marked
difficult are ignored. IoU is computed in continuous coordinates, as everywhere in this package; the
kit's adds 1 to each side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.intervals import Floats, Resampled, Weights
from detector.evaluation.resampled_ap import (
    ClassMatches,
    Counts,
    mean_of_present,
    resampled_ap,
)
from detector.structures.boxes_numpy import pairwise_iou
from detector.structures.detections import Detections

IOU = 0.5
POINTS = 10
"""Number of recall steps: VOC2007 reads the precision at recalls 0, 1/10, …, 1."""

VocMetric = Literal["voc07", "voc10"]


@dataclass(frozen=True)
class VocMetrics:
    """Mean AP over the classes, and AP per class, as fractions; −1 without ground truth."""

    summary: dict[str, float]
    per_class: dict[str, float]
    title: str

    per_class_title = "AP"
    note = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**self.summary, "per_class": dict(self.per_class)}


@dataclass(frozen=True)
class _GroundTruth:
    """Objects of one class in one image."""

    boxes_xyxy: Floats
    difficult: NDArray[np.bool_]


class VocEvaluator:
    """Evaluator that computes Pascal VOC AP.

    Args:
        ground_truth: COCO annotation dictionary; objects marked ``difficult`` or ``iscrowd`` are
            ignored.
        category_ids: category id of each class of the model, in the order of its class ids.
        image_ids: images to evaluate, including images without boxes.
        metric: ``voc07`` (11 points) or ``voc10`` (area).
    """

    metrics = ("mAP",)

    def __init__(
        self,
        ground_truth: dict[str, Any],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
        metric: VocMetric = "voc10",
    ) -> None:
        self.category_ids = tuple(category_ids)
        self.image_ids = list(image_ids)
        self.metric = metric
        self.results: list[dict[str, Any]] = []
        self._names = {c["id"]: str(c["name"]) for c in ground_truth["categories"]}
        self._ground_truth = _by_class_and_image(ground_truth, set(image_ids))

    def reset(self) -> None:
        """Remove all boxes; keep the ground truth."""
        self.results = []

    def add(self, image_id: int, detections: Detections) -> None:
        """Add the boxes of one image."""
        self.results.extend(detections.to_coco(image_id, self.category_ids))

    def compute(self) -> VocMetrics:
        """Compare all boxes with the ground truth."""
        found = self._found()
        per_class = {
            name: self._class_ap(self._ground_truth.get(number, {}), found[number])
            for number, name in self._names.items()
        }
        measured = [ap for ap in per_class.values() if ap >= 0]
        mean = float(np.mean(measured)) if measured else -1.0
        how = "11 points (VOC2007)" if self.metric == "voc07" else "area (VOC2010)"
        return VocMetrics({"mAP": mean}, per_class, f"Pascal VOC AP at IoU {IOU}, {how}")

    def resampled(self, weights: Weights) -> Resampled:
        """Return mean AP and each class's AP on resamples of the images.

        Each is that of a data set with the images repeated.

        Args:
            weights: (resamples, images) how often each of ``image_ids`` was drawn.
        """
        found, index = self._found(), {number: i for i, number in enumerate(self.image_ids)}
        of_classes = [
            _class_matches(self._ground_truth.get(number, {}), found[number], index)
            for number in self._names
        ]
        curve = _read_at_eleven if self.metric == "voc07" else _read_everywhere
        aps = [one[0] for one in resampled_ap(of_classes, weights, curve)]
        mean = mean_of_present(np.array(aps))
        return Resampled({"mAP": mean}, dict(zip(self._names.values(), aps, strict=True)))

    def _found(self) -> dict[int, list[dict[str, Any]]]:
        """Return the boxes of each category."""
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for result in self.results:
            found[result["category_id"]].append(result)
        return found

    def _class_ap(
        self, ground_truth: dict[int, _GroundTruth], found: list[dict[str, Any]]
    ) -> float:
        objects = sum(int((~one.difficult).sum()) for one in ground_truth.values())
        if objects == 0:
            return -1.0
        true_positive, false_positive = match_detections(ground_truth, found)
        curve = eleven_points if self.metric == "voc07" else area
        return curve(np.cumsum(true_positive), np.cumsum(false_positive), objects)


def match_detections(
    ground_truth: dict[int, _GroundTruth], found: Sequence[dict[str, Any]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match the detections of one class with its objects.

    Args:
        ground_truth: objects of the class by image id.
        found: detections of the class in COCO's results format.

    Returns:
        (n,) true positives and (n,) false positives, both by descending score; detections of
        ignored objects are neither.
    """
    scores = np.array([result["score"] for result in found])
    found = [found[i] for i in np.argsort(-scores, kind="stable")]
    true_positive = np.zeros(len(found), np.bool_)
    false_positive = np.ones(len(found), np.bool_)
    by_image: dict[int, list[int]] = defaultdict(list)
    for index, result in enumerate(found):
        by_image[result["image_id"]].append(index)
    for image_id in by_image.keys() & ground_truth.keys():
        indices, objects = np.array(by_image[image_id]), ground_truth[image_id]
        boxes_xywh = np.array([found[i]["bbox"] for i in indices])
        overlaps = pairwise_iou(_to_xyxy(boxes_xywh), objects.boxes_xyxy)
        assigned = overlaps.argmax(1)
        matched = overlaps.max(1) >= IOU
        false_positive[indices[matched & objects.difficult[assigned]]] = False
        matched &= ~objects.difficult[assigned]
        _, first = np.unique(assigned[matched], return_index=True)  # in the order of scores
        best = indices[matched][first]
        true_positive[best], false_positive[best] = True, False
    return true_positive, false_positive


def _class_matches(
    ground_truth: dict[int, _GroundTruth], found: Sequence[dict[str, Any]], index: dict[int, int]
) -> ClassMatches:
    """Return the matches of one class; ``index`` gives the place of an image id."""
    true_positive, false_positive = match_detections(ground_truth, found)
    order = np.argsort([-result["score"] for result in found], kind="stable")
    objects = np.zeros(len(index), np.int32)
    for image_id, one in ground_truth.items():
        objects[index[image_id]] = np.count_nonzero(~one.difficult)
    return ClassMatches(
        image=np.array([index[found[i]["image_id"]] for i in order], np.intp),
        score=np.array([found[i]["score"] for i in order], np.float64),
        counted=(true_positive | false_positive)[None],
        right=true_positive[None],
        objects=objects,
    )


def _read_at_eleven(true: Counts, objects: Counts) -> Floats:
    """Return the shares of AP read at each hit: those of the eleven recalls reached there."""
    reached = np.where(true > 0, true.astype(np.int64) * POINTS // objects + 1, 0)
    return np.diff(reached, axis=1, prepend=0) / (POINTS + 1)


def _read_everywhere(true: Counts, objects: Counts) -> Floats:
    """Return the shares of AP read at each hit: the steps of recall."""
    return np.diff(true, axis=1, prepend=0) / objects


def eleven_points(
    true_positives: NDArray[np.int64], false_positives: NDArray[np.int64], objects: int
) -> float:
    """Return the mean of the best precisions at recalls of at least 0, 0.1, …, 1.

    Args:
        true_positives: (n,) number of true positives among the first 1, 2, …, n detections.
        false_positives: (n,) number of false positives.
        objects: number of objects.
    """
    precision = _precision(true_positives, false_positives)
    # Compared as integers, so that a recall of 3 / 10 is at least 0.3.
    reached = [true_positives * POINTS >= point * objects for point in range(POINTS + 1)]
    return float(np.mean([precision[far].max(initial=0.0) for far in reached]))


def area(
    true_positives: NDArray[np.int64], false_positives: NDArray[np.int64], objects: int
) -> float:
    """Return the area under the precision-recall curve, made monotonic.

    Each precision is replaced by the best one at that recall or beyond. The arguments are those of
    :func:`eleven_points`.
    """
    precision = _precision(true_positives, false_positives)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(true_positives, prepend=0) / objects
    return float((steps * precision).sum())


def _precision(true_positives: NDArray[np.int64], false_positives: NDArray[np.int64]) -> Floats:
    detections = true_positives + false_positives
    return np.asarray(true_positives / np.maximum(detections, 1), np.float64)


def _by_class_and_image(
    ground_truth: dict[str, Any], image_ids: set[int]
) -> dict[int, dict[int, _GroundTruth]]:
    grouped: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] in image_ids:
            grouped[annotation["category_id"], annotation["image_id"]].append(annotation)
    result: dict[int, dict[int, _GroundTruth]] = defaultdict(dict)
    for (category_id, image_id), objects in grouped.items():
        result[category_id][image_id] = _GroundTruth(
            _to_xyxy(np.array([one["bbox"] for one in objects], np.float64)),
            np.array([bool(one.get("difficult") or one.get("iscrowd")) for one in objects]),
        )
    return result


def _to_xyxy(boxes_xywh: Floats) -> Floats:
    return np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), 1)
