"""Areas and IoU of boxes in numpy, for code that runs without torch.

Operations have torchvision's order and the boxes' precision, so that NMS in numpy and in torch
agree to the last bit.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatT = TypeVar("FloatT", bound=np.floating[Any])


def area(boxes_xyxy: NDArray[FloatT]) -> NDArray[FloatT]:
    """Return the areas of boxes: (..., 4) → (...), pixels²."""
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    areas: NDArray[FloatT] = sides[..., 0] * sides[..., 1]
    return areas


def intersection_and_union(
    boxes_a_xyxy: NDArray[FloatT],
    boxes_b_xyxy: NDArray[FloatT],
    areas_a: NDArray[FloatT],
    areas_b: NDArray[FloatT],
) -> tuple[NDArray[FloatT], NDArray[FloatT]]:
    """Return the areas of intersections and unions, pair by pair; shapes broadcast.

    For loops that have already computed the areas of their boxes.

    Args:
        boxes_a_xyxy: (..., 4).
        boxes_b_xyxy: (..., 4).
        areas_a: (...) areas of the first boxes.
        areas_b: (...) areas of the second boxes.
    """
    left_top = np.maximum(boxes_a_xyxy[..., :2], boxes_b_xyxy[..., :2])
    right_bottom = np.minimum(boxes_a_xyxy[..., 2:], boxes_b_xyxy[..., 2:])
    sides = np.maximum(right_bottom - left_top, 0)
    intersection = sides[..., 0] * sides[..., 1]
    return intersection, areas_a + areas_b - intersection


def iou(boxes_a_xyxy: NDArray[FloatT], boxes_b_xyxy: NDArray[FloatT]) -> NDArray[FloatT]:
    """Return the IoU of boxes, pair by pair; shapes broadcast. 0 where both are empty.

    >>> iou(np.float64([0, 0, 10, 10]), np.float64([[0, 0, 10, 5], [20, 0, 30, 10]]))
    array([0.5, 0. ])
    """
    intersection, union = intersection_and_union(
        boxes_a_xyxy, boxes_b_xyxy, area(boxes_a_xyxy), area(boxes_b_xyxy)
    )
    overlap: NDArray[FloatT] = np.divide(
        intersection, union, out=np.zeros_like(union), where=union > 0
    )
    return overlap


def pairwise_iou(boxes_a_xyxy: NDArray[FloatT], boxes_b_xyxy: NDArray[FloatT]) -> NDArray[FloatT]:
    """Return the IoU of every box with every other: (n, 4), (m, 4) → (n, m)."""
    return iou(boxes_a_xyxy[:, None], boxes_b_xyxy[None])
