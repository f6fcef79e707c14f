"""SSD's loss (arXiv 1512.02325, section 2.2): smooth L1 on offsets, cross-entropy on classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners import IouAssigner
from detector.heads.anchors import encode_offsets
from detector.heads.ssd import SSDHead
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum

NEGATIVES_PER_POSITIVE = 3


class MultiBoxLoss:
    """Loss of an SSDHead, with hard negative mining.

    Args:
        head: head that gives default boxes and variances.
        settings: gives the label smoothing.
    """

    def __init__(self, head: SSDHead, settings: LossSettings) -> None:
        self.head = head
        self.assigner = IouAssigner()
        self.label_smoothing = settings.label_smoothing

    def __call__(self, raw_outputs: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of a batch, divided by the number of its positive boxes (at least 1).

        In distributed training the number is that of all processes: each returns its part of the
        sum.

        Args:
            raw_outputs: per level (b, h, w, boxes, 4 + 1 + classes).
            targets: targets of the batch.

        Returns:
            ``loss_box``, ``loss_class``: scalars that carry gradients.
        """
        raw = torch.cat([level.flatten(1, 3) for level in raw_outputs], 1)
        raw = raw if raw.dtype == torch.float64 else raw.float()
        default_xyxy = self.head.default_boxes(raw_outputs).to(raw.dtype)
        target = self.assigner(targets, default_xyxy, len(raw))
        positive = target >= 0
        count = all_reduce_sum(positive.sum()).clamp(min=1)

        boxes_xyxy = targets.boxes_xyxy[target[positive]].to(raw.dtype)
        anchors = default_xyxy.expand(len(raw), -1, -1)[positive]
        offsets = encode_offsets(boxes_xyxy, anchors, self.head.variances)
        box = F.smooth_l1_loss(raw[..., :4][positive], offsets, reduction="sum")

        class_ids = torch.zeros_like(target)  # 0 is the background
        class_ids[positive] = targets.class_ids[target[positive]] + 1
        entropy = F.cross_entropy(
            raw[..., 4:].flatten(0, 1),
            class_ids.flatten(),
            reduction="none",
            label_smoothing=self.label_smoothing,
        ).view_as(target)
        counted = positive | hard_negatives(entropy.detach(), positive)
        return {"loss_box": box / count, "loss_class": (entropy * counted).sum() / count}


def hard_negatives(losses: Tensor, positive: Tensor) -> Tensor:
    """Select in each image the negative boxes of largest loss, 3 for each positive box.

    An image without positive boxes counts as having one.

    Args:
        losses: (b, n) classification loss of each box.
        positive: (b, n) bool, True for boxes with a target.

    Returns:
        (b, n) bool, True for the selected boxes.
    """
    allowed = NEGATIVES_PER_POSITIVE * positive.sum(1, keepdim=True).clamp(min=1)
    candidates = losses.masked_fill(positive, -torch.inf)
    rank = candidates.argsort(stable=True, dim=1, descending=True).argsort(1)
    return (rank < allowed).logical_and(~positive)
