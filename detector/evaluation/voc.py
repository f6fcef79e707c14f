"""Pascal VOC's mean AP at IoU 0.5: 11 points as in VOC2007, the area as from VOC2010 on.

After the challenge's development kit (VOCevaldet.m; Everingham et al., IJCV 2010, section 4.2):
each detection goes to the object that it overlaps most; the first one to claim an object is
right, any further one is wrong; objects marked difficult count neither way. IoU is that of boxes
in continuous coordinates, as everywhere in this product; the kit's adds 1 to each side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.structures.boxes_numpy import pairwise_iou
from detector.structures.detections import Detections

IOU = 0.5
POINTS = 10
"""VOC2007 reads the precision at recalls 0, 1/10, …, 1."""

Floats = NDArray[np.float64]
VocMetric = Literal["voc07", "voc10"]


@dataclass(frozen=True)
class VocMetrics:
    """Mean AP over the classes, and AP per class, as fractions; −1 where there is no truth."""

    summary: dict[str, float]
    per_class: dict[str, float]
    title: str

    per_class_title = "AP"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self.summary, "per_class": dict(self.per_class)}


@dataclass(frozen=True)
class _Truth:
    """Objects of one class in one image."""

    boxes_xyxy: Floats
    difficult: NDArray[np.bool_]


class VocEvaluator:
    """Collects the boxes of each image and compares them with the truth.

    Args:
        ground_truth: a COCO annotation dictionary; objects marked ``difficult`` or ``iscrowd``
            count neither way.
        category_ids: of each class of the model, in the order of its class numbers.
        image_ids: the images to count; an image without boxes counts too.
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
        self.metric = metric
        self.results: list[dict[str, Any]] = []
        self._names = {c["id"]: str(c["name"]) for c in ground_truth["categories"]}
        self._ground_truth = _by_class_and_image(ground_truth, set(image_ids))

    def reset(self) -> None:
        """Forget all boxes; the truth stays."""
        self.results = []

    def add(self, image_id: int, detections: Detections) -> None:
        """Take the boxes of one image."""
        self.results.extend(detections.to_coco(image_id, self.category_ids))

    def compute(self) -> VocMetrics:
        """Compare everything that was added with the truth."""
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for result in self.results:
            found[result["category_id"]].append(result)
        per_class = {
            name: self._class_ap(self._ground_truth.get(number, {}), found[number])
            for number, name in self._names.items()
        }
        measured = [ap for ap in per_class.values() if ap >= 0]
        mean = float(np.mean(measured)) if measured else -1.0
        how = "11 points (VOC2007)" if self.metric == "voc07" else "area (VOC2010)"
        return VocMetrics({"mAP": mean}, per_class, f"Pascal VOC AP at IoU {IOU}, {how}")

    def _class_ap(self, truth: dict[int, _Truth], found: list[dict[str, Any]]) -> float:
        objects = sum(int((~one.difficult).sum()) for one in truth.values())
        if objects == 0:
            return -1.0
        right, wrong = judge(truth, found)
        curve = eleven_points if self.metric == "voc07" else area
        return curve(np.cumsum(right), np.cumsum(wrong), objects)


def judge(
    truth: dict[int, _Truth], found: Sequence[dict[str, Any]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Detections of one class, best first: which are right and which are wrong; some are neither.

    Args:
        truth: objects of the class by image id.
        found: COCO results of the class.
    """
    scores = np.array([result["score"] for result in found])
    found = [found[i] for i in np.argsort(-scores, kind="stable")]
    right, wrong = np.zeros(len(found), np.bool_), np.ones(len(found), np.bool_)
    by_image: dict[int, list[int]] = defaultdict(list)
    for index, result in enumerate(found):
        by_image[result["image_id"]].append(index)
    for image_id in by_image.keys() & truth.keys():
        indices, objects = np.array(by_image[image_id]), truth[image_id]
        boxes_xywh = np.array([found[i]["bbox"] for i in indices])
        overlaps = pairwise_iou(_to_xyxy(boxes_xywh), objects.boxes_xyxy)
        owner = overlaps.argmax(1)
        claims = overlaps.max(1) >= IOU
        wrong[indices[claims & objects.difficult[owner]]] = False
        claims &= ~objects.difficult[owner]
        _, first = np.unique(owner[claims], return_index=True)  # in the order of scores
        winners = indices[claims][first]
        right[winners], wrong[winners] = True, False
    return right, wrong


def eleven_points(right: NDArray[np.int64], wrong: NDArray[np.int64], objects: int) -> float:
    """Mean of the best precisions at recalls of at least 0, 0.1, …, 1.

    Args:
        right: (n,) right detections among the first 1, 2, …, n.
        wrong: (n,) wrong ones.
        objects: number of objects.
    """
    precision = _precision(right, wrong)
    # Whole numbers: a recall of 3 / 10 is at least 0.3.
    reached = [right * POINTS >= point * objects for point in range(POINTS + 1)]
    return float(np.mean([precision[far].max(initial=0.0) for far in reached]))


def area(right: NDArray[np.int64], wrong: NDArray[np.int64], objects: int) -> float:
    """Area under the precision–recall curve, each precision the best at that recall or beyond."""
    precision = np.maximum.accumulate(_precision(right, wrong)[::-1])[::-1]
    steps = np.diff(right, prepend=0) / objects
    return float((steps * precision).sum())


def _precision(right: NDArray[np.int64], wrong: NDArray[np.int64]) -> Floats:
    return np.asarray(right / np.maximum(right + wrong, 1), np.float64)


def _by_class_and_image(
    ground_truth: dict[str, Any], image_ids: set[int]
) -> dict[int, dict[int, _Truth]]:
    grouped: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] in image_ids:
            grouped[annotation["category_id"], annotation["image_id"]].append(annotation)
    result: dict[int, dict[int, _Truth]] = defaultdict(dict)
    for (category_id, image_id), objects in grouped.items():
        result[category_id][image_id] = _Truth(
            _to_xyxy(np.array([one["bbox"] for one in objects], np.float64)),
            np.array([bool(one.get("difficult") or one.get("iscrowd")) for one in objects]),
        )
    return result


def _to_xyxy(boxes_xywh: Floats) -> Floats:
    return np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), 1)
