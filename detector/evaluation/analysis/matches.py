"""Objects, boxes, and pycocotools' matches between them at IoU 0.5: what every analysis reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from detector.evaluation.coco import CocoEvaluator

IOU = 0.5
"""IoU from which a box finds an object, unless an analysis says otherwise."""

NONE = -1
"""Index in place of a box or an object where there is none."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Objects:
    """The ground truth's objects in all images, image by image.

    Attributes:
        image: (n,) index of each object's image.
        class_id: (n,) index of its class.
        boxes_xywh: (n, 4) pixels, as pycocotools takes them.
        areas: (n,) pixels², as labelled: of the object, or else of its box.
        ignored: (n,) True for crowds, which nothing needs to find.
        box: (n,) index of the box that found the object, or ``NONE``.
    """

    image: Indices
    class_id: Indices
    boxes_xywh: Floats
    areas: Floats
    ignored: Booleans
    box: Indices

    def __len__(self) -> int:
        return len(self.image)

    @property
    def missed(self) -> Booleans:
        """(n,) True for objects that no box found at any score."""
        found: Booleans = self.box != NONE
        return ~self.ignored & ~found


@dataclass(frozen=True)
class Boxes:
    """The boxes found in all images: image by image, best first.

    Attributes:
        image: (m,) index of each box's image.
        class_id: (m,) index of its class.
        boxes_xywh: (m, 4) pixels, as pycocotools takes them.
        scores: (m,) confidence.
        ignored: (m,) True for boxes that lie on a crowd; they are neither right nor wrong.
        object: (m,) index of the object that the box found, or ``NONE``.
    """

    image: Indices
    class_id: Indices
    boxes_xywh: Floats
    scores: Floats
    ignored: Booleans
    object: Indices

    def __len__(self) -> int:
        return len(self.image)

    @property
    def right(self) -> Booleans:
        """(m,) True for true positives."""
        found: Booleans = self.object != NONE
        return ~self.ignored & found

    @property
    def wrong(self) -> Booleans:
        """(m,) True for false positives."""
        return ~self.ignored & ~self.right


@dataclass(frozen=True)
class Overlap:
    """The object that each of some boxes overlaps most, among the objects of some classes.

    Attributes:
        iou: (m,) IoU with that object; 0 where there is none.
        object: (m,) its index; ``NONE`` where nothing overlaps.
    """

    iou: Floats
    object: Indices


@dataclass(frozen=True)
class Matches:
    """An evaluation set's objects and a network's boxes, matched class by class by pycocotools.

    Attributes:
        names: class names of the data.
        image_ids: ids of the images.
        objects: what is labelled.
        boxes: what was found, as far as COCO counts it: the 100 best boxes of a class in an image.
        evaluator: has the results that were matched, for analyses that match in another way.
    """

    names: tuple[str, ...]
    image_ids: tuple[int, ...]
    objects: Objects
    boxes: Boxes
    evaluator: CocoEvaluator

    def pairs(self) -> Iterator[tuple[Indices, Indices, Floats]]:
        """Yield each image's (b,) boxes, (o,) objects, and (b, o) IoU, pycocotools' own.

        Crowds are left out, and so are images without boxes or objects.
        """
        labelled = np.flatnonzero(~self.objects.ignored)
        images = np.arange(len(self.image_ids) + 1)
        box_starts = np.searchsorted(self.boxes.image, images).tolist()
        object_starts = np.searchsorted(self.objects.image[labelled], images).tolist()
        for image in np.intersect1d(self.boxes.image, self.objects.image[labelled]).tolist():
            boxes = np.arange(*box_starts[image : image + 2])
            objects = labelled[slice(*object_starts[image : image + 2])]
            yield (
                boxes,
                objects,
                pairwise_iou(self.boxes.boxes_xywh[boxes], self.objects.boxes_xywh[objects]),
            )

    @cached_property
    def overlaps(self) -> tuple[Overlap, Overlap]:
        """Overlap with the objects of each box's own class, and with those of other classes."""
        own, other = _no_overlap(len(self.boxes)), _no_overlap(len(self.boxes))
        for boxes, objects, ious in self.pairs():
            same = self.boxes.class_id[boxes, None] == self.objects.class_id[objects]
            for overlap, chosen in ((own, same), (other, ~same)):
                candidates = np.where(chosen, ious, 0.0)
                column = candidates.argmax(axis=1)
                overlap.iou[boxes] = candidates[np.arange(len(boxes)), column]
                overlap.object[boxes] = np.where(overlap.iou[boxes] > 0, objects[column], NONE)
        return own, other


def match(evaluator: CocoEvaluator) -> Matches:
    """Match an evaluator's results with its ground truth at IoU 0.5, class by class."""
    evaluation = evaluator.evaluation(iou=IOU)
    rows = of_all_sizes(evaluation)
    objects = _Annotations(_joined(rows, lambda one: one["gtIds"]), evaluation.cocoGt.anns)
    boxes = _Annotations(_joined(rows, lambda one: one["dtIds"]), evaluation.cocoDt.anns)
    scores = boxes.values("score")
    object_order = np.lexsort((objects.ids, objects.values("image_id")))
    box_order = np.lexsort((boxes.ids, -scores, boxes.values("image_id")))
    box_of = _joined(rows, lambda one: one["gtMatches"][0])[object_order]
    object_of = _joined(rows, lambda one: one["dtMatches"][0])[box_order]
    params = evaluation.params
    return Matches(
        names=tuple(evaluator.category_name(number) for number in params.catIds),
        image_ids=tuple(map(int, params.imgIds)),
        objects=Objects(
            image=np.searchsorted(params.imgIds, objects.values("image_id"))[object_order],
            class_id=np.searchsorted(params.catIds, objects.values("category_id"))[object_order],
            boxes_xywh=objects.boxes_xywh()[object_order],
            areas=objects.values("area")[object_order],
            ignored=_joined(rows, lambda one: one["gtIgnore"])[object_order] != 0,
            box=_places(box_of, boxes.ids[box_order]),
        ),
        boxes=Boxes(
            image=np.searchsorted(params.imgIds, boxes.values("image_id"))[box_order],
            class_id=np.searchsorted(params.catIds, boxes.values("category_id"))[box_order],
            boxes_xywh=boxes.boxes_xywh()[box_order],
            scores=scores[box_order],
            ignored=_joined(rows, lambda one: one["dtIgnore"][0])[box_order] != 0,
            object=_places(object_of, objects.ids[object_order]),
        ),
        evaluator=evaluator,
    )


def of_all_sizes(evaluation: COCOeval) -> list[dict[str, Any]]:
    """Return pycocotools' matches of each class in each image, for objects of all sizes."""
    images, areas = len(evaluation.params.imgIds), len(evaluation.params.areaRng)
    found = cast(list[dict[str, Any] | None], evaluation.evalImgs)
    starts = range(0, len(found), areas * images)
    every = (one for start in starts for one in found[start : start + images])
    return [one for one in every if one is not None]


def pairwise_iou(boxes_xywh: Floats, objects_xywh: Floats) -> Floats:
    """Return pycocotools' IoU of boxes and objects that are no crowds: (m, 4), (n, 4) → (m, n)."""
    if not len(boxes_xywh) or not len(objects_xywh):
        return np.zeros((len(boxes_xywh), len(objects_xywh)))
    crowd = np.zeros(len(objects_xywh), np.uint8)
    return cast(Floats, cast(Any, mask).iou(boxes_xywh, objects_xywh, crowd))


def to_xyxy(boxes_xywh: Floats) -> Floats:
    """Return boxes as left, top, right and bottom: (n, 4) → (n, 4)."""
    return np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), axis=1)


@dataclass(frozen=True)
class _Annotations:
    """Annotations of pycocotools, in the order of their ids."""

    ids: Indices
    by_id: Mapping[int, Mapping[str, Any]]

    def values(self, key: str) -> NDArray[Any]:
        return np.array([self.by_id[number][key] for number in self.ids.tolist()])

    def boxes_xywh(self) -> Floats:
        return np.asarray(self.values("bbox"), np.float64).reshape(-1, 4)


def _joined(
    rows: Sequence[dict[str, Any]], column: Callable[[dict[str, Any]], Sequence[Any]]
) -> Indices:
    """Return one column of pycocotools' matches of all images and classes."""
    parts = [np.asarray(column(one)).astype(np.int64) for one in rows]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _places(wanted: Indices, ids: Indices) -> Indices:
    """Return the place of each wanted id among the ids; ``NONE`` for 0, pycocotools' no match."""
    places = np.full(len(wanted), NONE)
    order = np.argsort(ids)
    known = wanted != 0
    places[known] = order[np.searchsorted(ids, wanted[known], sorter=order)]
    return places


def _no_overlap(boxes: int) -> Overlap:
    return Overlap(np.zeros(boxes), np.full(boxes, NONE))
