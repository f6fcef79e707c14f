"""Box formats and the IoU family: pure functions on (..., 4) tensors in pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Corners → centre, width, height.

    >>> xyxy_to_cxcywh(torch.tensor([10.0, 20.0, 30.0, 60.0]))
    tensor([20., 40., 20., 40.])
    """
    x1, y1, x2, y2 = boxes_xyxy.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Centre, width, height → corners.

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
    """(..., 4) → (...), pixels²."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """Intersection over union of boxes pair by pair; shapes broadcast. 0 where both are empty."""
    intersection = _intersection(boxes_a_xyxy, boxes_b_xyxy)
    union = area(boxes_a_xyxy) + area(boxes_b_xyxy) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def pairwise_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """(n, 4), (m, 4) → (n, m)."""
    return iou(boxes_a_xyxy[:, None], boxes_b_xyxy[None])


def complete_iou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU (arXiv 1911.08287, section 3.2) pair by pair: (..., 4) → (...), in −1.5..1.

    IoU − ρ²/c² − αv: ρ is the distance of the centres, c the diagonal of the smallest box around
    both, v the difference of their aspect ratios; α is a weight and carries no gradient.
    """
    overlap = iou(boxes_a_xyxy, boxes_b_xyxy)
    left_top = torch.minimum(boxes_a_xyxy[..., :2], boxes_b_xyxy[..., :2])
    right_bottom = torch.maximum(boxes_a_xyxy[..., 2:], boxes_b_xyxy[..., 2:])
    diagonal2 = (right_bottom - left_top).square().sum(-1) + eps
    centre_a, size_a = xyxy_to_cxcywh(boxes_a_xyxy).split(2, -1)
    centre_b, size_b = xyxy_to_cxcywh(boxes_b_xyxy).split(2, -1)
    distance2 = (centre_a - centre_b).square().sum(-1)
    angle_a, angle_b = (torch.atan(s[..., 0] / (s[..., 1] + eps)) for s in (size_a, size_b))
    aspect = 4 / math.pi**2 * (angle_a - angle_b).square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect + eps)
    penalty: Tensor = distance2 / diagonal2 + weight * aspect
    return overlap - penalty


def _intersection(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    left_top = torch.maximum(boxes_a_xyxy[..., :2], boxes_b_xyxy[..., :2])
    right_bottom = torch.minimum(boxes_a_xyxy[..., 2:], boxes_b_xyxy[..., 2:])
    sides: Tensor = (right_bottom - left_top).clamp(min=0)
    return sides[..., 0] * sides[..., 1]
