"""Non-maximum suppression in numpy. Results depend on the input alone, never on time.

The rule:

1. **Candidates.** With ``multi_label`` every (box, class) pair, else every box with its best
   class (the lower number where two are equal); of these, the ones whose score is at least
   ``confidence`` and whose class is among ``classes``, if those are given.
2. **Order.** By score, best first; equal scores by box, then by class. The first ``candidates``
   are kept; of these, the first ``class_candidates`` of each class, if that is given.
3. **Selection.** In that order, a candidate is kept unless its IoU with an already kept box of
   the same class (of any class with ``class_agnostic``) is greater than ``iou``.
4. **Limit.** The first ``max_detections`` of the kept boxes are the result.

All arithmetic and both thresholds are float32, and the IoU is computed in torchvision's order of
operations: ``detector.model.torch_backend``, which uses torchvision for the third step, gives
bitwise equal results.

With another ``nms_method`` than ``nms``, Soft-NMS or box fusion performs the third step, in
float64, and its results are sorted again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detector.runtime.nms.box_fusion import fuse_boxes
from detector.runtime.nms.soft_nms import soft_nms
from detector.settings.nms import NmsSettings
from detector.structures.boxes_numpy import area, intersection_and_union

Boxes = NDArray[np.float32]
Scores = NDArray[np.float32]
Indices = NDArray[np.int64]
Candidates = tuple[Boxes, Scores, Indices]
"""Boxes (m, 4), scores (m,) descending and class ids (m,) that NMS selects from."""
GreedyNms = Callable[[Boxes, Indices, float, int], Indices]
"""Function with the arguments and the result of :func:`greedy_nms`."""

FIRST_LOOK = 4
"""Number of candidates per possible detection that NMS looks at first; see ``_first_kept``."""


def greedy_nms(boxes_xyxy: Boxes, groups: Indices, iou: float, limit: int) -> Indices:
    """Return the indices of the first ``limit`` boxes that NMS keeps.

    Args:
        boxes_xyxy: (m, 4), best first.
        groups: (m,) group numbers; only boxes of the same group remove each other.
        iou: threshold; a box that overlaps a better one by more is removed.
        limit: number of boxes to keep.

    Returns:
        (k,) indices, ascending.
    """
    # Groups are stored contiguously, each in the order of scores: all boxes that a kept one may
    # remove are one slice.
    by_group = np.argsort(groups, kind="stable")
    place = np.argsort(by_group)
    end = np.searchsorted(groups[by_group], groups, side="right")
    boxes = np.asfortranarray(boxes_xyxy[by_group])  # columns are read one by one
    areas = area(boxes)
    threshold = np.float32(iou)

    alive = np.ones(len(groups), np.bool_)
    kept: list[int] = []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # boxes without area
        for index, (here, stop) in enumerate(zip(place.tolist(), end.tolist(), strict=True)):
            if not alive[here]:
                continue
            kept.append(index)
            if len(kept) == limit:
                break
            rest = slice(here + 1, stop)
            intersection, union = intersection_and_union(
                boxes[here], boxes[rest], areas[here], areas[rest]
            )
            alive[rest] &= ~(intersection / union > threshold)
    return np.array(kept, np.int64)


def nms(
    boxes_xyxy: Boxes, scores: Scores, settings: NmsSettings, greedy_nms: GreedyNms = greedy_nms
) -> tuple[Boxes, Scores, Indices]:
    """Keep the best boxes of one image.

    Args:
        boxes_xyxy: (n, 4) float32, pixels, finite.
        scores: (n, classes) float32; NaN is never a candidate.
        settings: thresholds and limits.
        greedy_nms: implementation of the third step.

    Returns:
        boxes_xyxy (k, 4) float32, scores (k,) float32 descending, class_ids (k,) int64.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
        >>> nms(boxes, np.array([[0.9], [0.8]], np.float32), NmsSettings())[1]
        array([0.9], dtype=float32)
    """
    return select(find_candidates(boxes_xyxy, scores, settings), settings, greedy_nms)


def find_candidates(boxes_xyxy: Boxes, scores: Scores, settings: NmsSettings) -> Candidates:
    """Return the best candidates of one image, or of a part of it, best first.

    Args:
        boxes_xyxy: (n, 4) float32, pixels, finite.
        scores: (n, classes) float32; NaN is never a candidate.
        settings: thresholds and limits.
    """
    boxes_xyxy = np.asarray(boxes_xyxy, np.float32)
    scores = np.ascontiguousarray(scores, np.float32)
    flat = _candidates(scores, settings)
    flat = flat[best_first(scores.ravel()[flat], settings.candidates)]
    box_index, class_ids = np.divmod(flat, max(scores.shape[1], 1))
    return boxes_xyxy[box_index], scores.ravel()[flat], class_ids


def select(
    candidates: Candidates, settings: NmsSettings, greedy_nms: GreedyNms = greedy_nms
) -> tuple[Boxes, Scores, Indices]:
    """Keep the best of an image's candidates, which come best first; see :func:`nms`."""
    boxes, values, class_ids = candidates
    if settings.class_candidates is not None:
        first = first_of_each(class_ids, settings.class_candidates)
        boxes, values, class_ids = boxes[first], values[first], class_ids[first]
    groups = np.zeros_like(class_ids) if settings.class_agnostic else class_ids
    if settings.nms_method == "nms":
        kept = _first_kept(greedy_nms, boxes, groups, settings)
        return boxes[kept], values[kept], class_ids[kept]
    exact = boxes.astype(np.float64), values.astype(np.float64)
    if settings.nms_method == "fusion":
        means, means_of_scores, kept = fuse_boxes(*exact, groups, settings)
        return np.float32(means), np.float32(means_of_scores), class_ids[kept]
    kept, lowered = soft_nms(*exact, groups, settings)
    return boxes[kept], lowered.astype(np.float32), class_ids[kept]


def _candidates(scores: Scores, settings: NmsSettings) -> Indices:
    """Return the candidates' ascending indices into the flattened scores: box · classes + class."""
    classes = max(scores.shape[1], 1)
    flat = np.flatnonzero(scores.ravel() >= np.float32(settings.confidence))
    if not settings.multi_label and len(flat):
        # Few boxes reach the confidence: the argmax over classes is taken for those only.
        box_index = flat // classes
        box_index = box_index[np.diff(box_index, prepend=-1) > 0]
        flat = box_index * classes + np.nanargmax(scores[box_index], axis=1)
    if settings.classes is not None:
        flat = flat[np.isin(flat % classes, settings.classes)]
    return flat


def best_first(scores: Scores, count: int) -> Indices:
    """Return the indices of the ``count`` highest of (m,) scores, best first, ties by index."""
    chosen = np.arange(len(scores))
    if len(scores) > count:  # a partition and a short sort are faster than sorting all scores
        last = np.partition(scores, len(scores) - count)[len(scores) - count]
        above = np.flatnonzero(scores > last)
        chosen = np.concatenate([above, np.flatnonzero(scores == last)[: count - len(above)]])
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def first_of_each(class_ids: Indices, count: int) -> Indices:
    """Return the ascending indices of the first ``count`` of each class in (m,) class ids.

    >>> first_of_each(np.array([7, 7, 3, 7, 3]), 2)
    array([0, 1, 2, 4])
    """
    by_class = np.argsort(class_ids, kind="stable")
    ordered = class_ids[by_class]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(by_class[rank < count])


def _first_kept(
    greedy_nms: GreedyNms, boxes_xyxy: Boxes, groups: Indices, settings: NmsSettings
) -> Indices:
    """Return the indices of the kept boxes, looking at as few candidates as possible.

    Whether a box is kept depends on better boxes only, so the first results follow from the first
    candidates. Further candidates are looked at only if those give too few results.
    """
    limit = settings.max_detections
    seen = FIRST_LOOK * limit
    while True:
        kept = greedy_nms(boxes_xyxy[:seen], groups[:seen], settings.iou, limit)
        if len(kept) == limit or seen >= len(groups):
            return kept
        seen *= FIRST_LOOK
