"""Non-maximum suppression in torch, by the rule that ``detector.runtime.nms`` states.

Thresholds and ordering run where the network ran. What remains, at most ``candidates`` boxes, is
suppressed by torchvision on the CPU: that is a sequential scan, and so every device keeps the
same boxes. torchvision's ``batched_nms`` is not used because it moves the classes apart by adding
an offset to the coordinates, which rounds them and so changes the IoU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from detector.runtime.nms import FIRST_LOOK
from detector.settings import NmsSettings


def nms(boxes_xyxy: Tensor, scores: Tensor, settings: NmsSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the best boxes of one image.

    Args:
        boxes_xyxy: (n, 4) floating point, pixels, finite.
        scores: (n, classes) floating point; a NaN is no candidate.
        settings: thresholds and limits.

    Returns:
        boxes (k, 4), scores (k,) descending, class_ids (k,): float32, float32, int64, on the
        device of the arguments.
    """
    boxes_xyxy, scores = boxes_xyxy.detach().float(), scores.detach().float()
    flat = _candidates(scores, settings)
    flat = flat[best_first(scores.flatten()[flat], settings.candidates)]
    classes = max(scores.shape[1], 1)
    if settings.class_candidates is not None:
        flat = flat[first_of_each(flat % classes, settings.class_candidates)]
    box_index, class_ids = flat // classes, flat % classes
    groups = torch.zeros_like(class_ids) if settings.class_agnostic else class_ids
    boxes = boxes_xyxy[box_index]
    kept = suppress(boxes.cpu(), groups.cpu(), settings.iou, settings.max_detections)
    kept = kept.to(boxes.device)
    return boxes[kept], scores.flatten()[flat[kept]], class_ids[kept]


def _float32(value: float) -> float:
    """The threshold as a float32 number, so that it compares alike on every device."""
    return float(np.float32(value))


def _candidates(scores: Tensor, settings: NmsSettings) -> Tensor:
    """Candidates as ascending indices into the flattened scores: box · classes + class."""
    confidence = _float32(settings.confidence)
    classes = max(scores.shape[1], 1)
    if settings.multi_label or scores.numel() == 0:
        flat = (scores >= confidence).flatten().nonzero().flatten()
    else:
        box_index = (scores.amax(dim=1) >= confidence).nonzero().flatten()
        flat = box_index * classes + scores[box_index].argmax(dim=1)
    if settings.classes is not None:
        flat = flat[torch.isin(flat % classes, flat.new_tensor(settings.classes))]
    return flat


def best_first(scores: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` highest of (m,) scores, best first, equal ones by index."""
    chosen = torch.arange(len(scores), device=scores.device)
    if len(scores) > count:  # finding the last score that goes on is faster than sorting them all
        last = torch.topk(scores, count, sorted=False).values.min()
        above = (scores > last).nonzero().flatten()
        ties = (scores == last).nonzero().flatten()
        chosen = torch.cat([above, ties[: count - len(above)]])
    return chosen[torch.sort(scores[chosen], descending=True, stable=True).indices]


def first_of_each(class_ids: Tensor, count: int) -> Tensor:
    """Ascending indices of the first ``count`` of each class in (m,) class ids."""
    ordered, by_class = torch.sort(class_ids, stable=True)
    place = torch.arange(len(ordered), device=ordered.device)
    rank = place - torch.searchsorted(ordered, ordered)
    return torch.sort(by_class[rank < count]).values


def suppress(boxes_xyxy: Tensor, groups: Tensor, iou: float, limit: int) -> Tensor:
    """Indices of the first ``limit`` boxes that no better box of their group suppresses.

    Whether a box is kept depends on the better ones alone. So the first few candidates settle
    the first few results, and the rest is looked at only where those do not suffice.

    Args:
        boxes_xyxy: (m, 4) on the CPU, best first.
        groups: (m,) only boxes of one group suppress each other.
        iou: boxes that overlap more are suppressed.
        limit: number of boxes to keep.

    Returns:
        (k,) ascending.
    """
    seen = FIRST_LOOK * limit
    while True:
        kept = _suppress(boxes_xyxy[:seen], groups[:seen], _float32(iou))[:limit]
        if len(kept) == limit or seen >= len(groups):
            return kept
        seen *= FIRST_LOOK


def _suppress(boxes_xyxy: Tensor, groups: Tensor, iou: float) -> Tensor:
    sorted_groups, by_group = torch.sort(groups, stable=True)
    counts = torch.unique_consecutive(sorted_groups, return_counts=True)[1].tolist()
    falling = torch.arange(len(groups), 0, -1, dtype=torch.float32)  # the order is settled
    kept = [
        members[torchvision_nms(boxes_xyxy[members], falling[: len(members)], iou)]
        for members in by_group.split(counts)
    ]
    return torch.sort(torch.cat(kept)).values if kept else by_group
