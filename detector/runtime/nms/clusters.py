"""What Soft-NMS and fusion share: boxes by class, and their overlaps in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]


def by_group(groups: Indices) -> list[Indices]:
    """The members of each group in (m,) group numbers, ascending.

    >>> [members.tolist() for members in by_group(np.array([7, 3, 7]))]
    [[1], [0, 2]]
    """
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def iou_with(box_xyxy: Float64, boxes_xyxy: Float64) -> Float64:
    """(n,) IoU of one box, (4,), with each of (n, 4); 0 where neither has an area.

    >>> iou_with(np.float64([0, 0, 10, 10]), np.float64([[0, 0, 10, 5], [20, 0, 30, 10]]))
    array([0.5, 0. ])
    """
    left_top = np.maximum(boxes_xyxy[:, :2], box_xyxy[:2])
    right_bottom = np.minimum(boxes_xyxy[:, 2:], box_xyxy[2:])
    intersection = np.maximum(right_bottom - left_top, 0).prod(axis=1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    union = areas + (box_xyxy[2:] - box_xyxy[:2]).prod() - intersection
    iou: Float64 = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return iou
