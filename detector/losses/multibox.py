"""SSD's loss (arXiv 1512.02325, section 2.2): smooth L1 on offsets, cross-entropy on classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners import IouAssigner
from detector.heads.anchors import encode_offsets
from detector.heads.default_boxes import join_levels
from detector.heads.ssd import SSDHead
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum

NEGATIVES_PER_POSITIVE = 3


class Prediction(NamedTuple):
    """Predictions of one stage for b images and n anchors.

    Attributes:
        offsets: (b, n, 4) offsets from the anchors.
        logits: (b, n, 1 + classes), the background's first.
        anchors_xyxy: (n, 4) or (b, n, 4), pixels.
    """

    offsets: Tensor
    logits: Tensor
    anchors_xyxy: Tensor


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
        raw = in_full_precision(join_levels(raw_outputs))
        default_xyxy = self.head.default_boxes(raw_outputs).to(raw.dtype)
        box, entropy = multibox_losses(
            Prediction(raw[..., :4], raw[..., 4:], default_xyxy),
            targets,
            self.assigner(targets, default_xyxy, len(raw)),
            self.head.variances,
            self.label_smoothing,
        )
        return {"loss_box": box, "loss_class": entropy}


def in_full_precision(raw: Tensor) -> Tensor:
    """Return raw values in float32 at least, in which a loss is summed."""
    return raw if raw.dtype == torch.float64 else raw.float()


def multibox_losses(
    prediction: Prediction,
    targets: Targets,
    assigned: Tensor,
    variances: tuple[float, float],
    label_smoothing: float = 0.0,
    usable: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return smooth L1 of the offsets and the mined cross-entropy, over the positive boxes' number.

    Args:
        prediction: offsets and logits of each anchor.
        targets: targets of the batch.
        assigned: (b, n) index of each anchor's target, −1 for the background.
        variances: factors of the offsets of centres and of those of sides.
        label_smoothing: part of each class target that is shared by all classes.
        usable: (b, n) bool, False for anchors that are no negatives; None for all.
    """
    offsets, logits, anchors_xyxy = prediction
    positive = assigned >= 0
    count = all_reduce_sum(positive.sum()).clamp(min=1)

    boxes_xyxy = targets.boxes_xyxy[assigned[positive]].to(offsets.dtype)
    anchors = anchors_xyxy.expand(len(offsets), -1, -1)[positive]
    wanted = encode_offsets(boxes_xyxy, anchors, variances)
    box = F.smooth_l1_loss(offsets[positive], wanted, reduction="sum")

    class_ids = torch.zeros_like(assigned)  # 0 is the background
    class_ids[positive] = targets.class_ids[assigned[positive]] + 1
    entropy = F.cross_entropy(
        logits.flatten(0, 1),
        class_ids.flatten(),
        reduction="none",
        label_smoothing=label_smoothing,
    ).view_as(assigned)
    counted = positive | hard_negatives(entropy.detach(), positive, usable)
    return box / count, (entropy * counted).sum() / count


def hard_negatives(losses: Tensor, positive: Tensor, usable: Tensor | None = None) -> Tensor:
    """Select in each image the negative boxes of largest loss, 3 for each positive box.

    An image without positive boxes counts as having one.

    Args:
        losses: (b, n) classification loss of each box.
        positive: (b, n) bool, True for boxes with a target.
        usable: (b, n) bool, False for boxes that must not be selected; None for all.

    Returns:
        (b, n) bool, True for the selected boxes.
    """
    negative = ~positive if usable is None else ~positive & usable
    allowed = NEGATIVES_PER_POSITIVE * positive.sum(1, keepdim=True).clamp(min=1)
    candidates = losses.masked_fill(~negative, -torch.inf)
    rank = candidates.argsort(stable=True, dim=1, descending=True).argsort(1)
    return (rank < allowed) & negative
