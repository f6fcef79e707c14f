"""Box formats and the IoU family: pure functions on (..., 4) tensors in pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Convert corners to centre, width, height.

    >>> xyxy_to_cxcywh(torch.tensor([10.0, 20.0, 30.0, 60.0]))
    tensor([20., 40., 20., 40.])
    """
    x1, y1, x2, y2 = boxes_xyxy.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Convert centre, width, height to corners.

    >>> cxcywh_to_xyxy(torch.tensor([20.0, 40.0, 20.0, 40.0]))
    tensor([10., 20., 30., 60.])
    """
    cx, cy, w, h = boxes_cxcywh.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)


def clip(boxes_xyxy: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Cut boxes off at the borders of an image."""
    height, width = size_hw
    limits = boxes_xyxy.new_tensor([width, height, width, height])
    return torch.minimum(boxes_xyxy.clamp(min=0), limits)


def area(boxes_xyxy: Tensor) -> Tensor:
    """Return the areas of boxes: (..., 4) → (...), pixels²."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """Return the IoU of boxes, pair by pair; shapes broadcast. 0 where both are empty."""
    return _quotient(*_intersection_and_union(boxes_a_xyxy, boxes_b_xyxy))


def pairwise_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """Return the IoU of every box with every other: (n, 4), (m, 4) → (n, m)."""
    return iou(boxes_a_xyxy[:, None], boxes_b_xyxy[None])


def generalized_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """Return GIoU (arXiv 1902.09630, algorithm 1) pair by pair: (..., 4) → (...), in −1..1.

    IoU − (C − union) / C, with C the area of the smallest box around both.
    """
    intersection, union = _intersection_and_union(boxes_a_xyxy, boxes_b_xyxy)
    around = _hull(boxes_a_xyxy, boxes_b_xyxy).prod(-1)
    return _quotient(intersection, union) - (around - union) / (around + eps)


def distance_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """Return DIoU (arXiv 1911.08287, section 3.1) pair by pair: (..., 4) → (...), in −1..1.

    IoU − ρ²/c²: ρ is the distance of the centres, c the diagonal of the smallest box around both.
    """
    diagonal2 = _hull(boxes_a_xyxy, boxes_b_xyxy).square().sum(-1) + eps
    distance2 = _offset(boxes_a_xyxy, boxes_b_xyxy).square().sum(-1)
    return iou(boxes_a_xyxy, boxes_b_xyxy) - distance2 / diagonal2


def complete_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """Return CIoU (arXiv 1911.08287, section 3.2) pair by pair: (..., 4) → (...), in −1.5..1.

    IoU − ρ²/c² − αv: ρ is the distance of the centres, c the diagonal of the smallest box around
    both, v the difference of their aspect ratios; α is a weight and carries no gradient.
    """
    overlap = iou(boxes_a_xyxy, boxes_b_xyxy)
    diagonal2 = _hull(boxes_a_xyxy, boxes_b_xyxy).square().sum(-1) + eps
    distance2 = _offset(boxes_a_xyxy, boxes_b_xyxy).square().sum(-1)
    angle_a, angle_b = (
        torch.atan(size[..., 0] / (size[..., 1] + eps))
        for size in (_size(boxes_a_xyxy), _size(boxes_b_xyxy))
    )
    aspect = 4 / math.pi**2 * (angle_a - angle_b).square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect + eps)
    penalty: Tensor = distance2 / diagonal2 + weight * aspect
    return overlap - penalty


def scylla_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """Return SIoU (arXiv 2205.12740, section 2) pair by pair: (..., 4) → (...), in −2..1.

    IoU − (Δ + Ω) / 2. Δ, in 0..2, is the distance of the centres along both axes relative to the
    smallest box around both; it weighs more if their line is close to an axis (Λ, the angle cost,
    falls from 1 at 45° to 0). Ω, in 0..2, is the difference of the sides, with θ = 4.
    """
    offset = _offset(boxes_a_xyxy, boxes_b_xyxy)
    # sin 2α, which the paper writes as 1 − 2 sin²(arcsin(c_h / σ) − π / 4)
    angle = 2 * offset.abs().prod(-1) / (offset.square().sum(-1) + eps)
    parts = (offset / (_hull(boxes_a_xyxy, boxes_b_xyxy) + eps)).square()
    distance = (1 - torch.exp((angle - 2)[..., None] * parts)).sum(-1)
    size_a, size_b = _size(boxes_a_xyxy), _size(boxes_b_xyxy)
    difference = (size_a - size_b).abs() / (torch.maximum(size_a, size_b) + eps)
    shape = (1 - torch.exp(-difference)).pow(4).sum(-1)
    penalty: Tensor = (distance + shape) / 2
    return iou(boxes_a_xyxy, boxes_b_xyxy) - penalty


def _hull(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """Return width and height, (..., 2), of the smallest box around both."""
    left_top = torch.minimum(boxes_a_xyxy[..., :2], boxes_b_xyxy[..., :2])
    right_bottom = torch.maximum(boxes_a_xyxy[..., 2:], boxes_b_xyxy[..., 2:])
    return right_bottom - left_top


def _offset(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """Return the vector, (..., 2), from the centre of b to that of a."""
    return xyxy_to_cxcywh(boxes_a_xyxy)[..., :2] - xyxy_to_cxcywh(boxes_b_xyxy)[..., :2]


def _size(boxes_xyxy: Tensor) -> Tensor:
    """Return width and height, (..., 2)."""
    return boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]


def _intersection_and_union(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas of intersections and unions, (...) each, pixels²."""
    left_top = torch.maximum(boxes_a_xyxy[..., :2], boxes_b_xyxy[..., :2])
    right_bottom = torch.minimum(boxes_a_xyxy[..., 2:], boxes_b_xyxy[..., 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    return intersection, area(boxes_a_xyxy) + area(boxes_b_xyxy) - intersection


def _quotient(intersection: Tensor, union: Tensor) -> Tensor:
    """Return intersection / union, 0 where both are 0."""
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)
