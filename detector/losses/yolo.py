"""YOLOv5's loss: named scalars from raw maps and an assignment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners import LevelAssignment, RatioAssigner
from detector.boxes import complete_iou, cxcywh_to_xyxy
from detector.collectives import total
from detector.heads.yolo import Detect
from detector.settings import LossSettings
from detector.structures import Targets

REFERENCE_CLASSES, REFERENCE_SIDE, REFERENCE_LEVELS = 80, 640, 3
"""The gains are those of COCO at 640 pixels on three levels; others are scaled to them."""

LEVEL_BALANCE = {3: (4.0, 1.0, 0.4)}
OTHER_LEVEL_BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02)
"""Weight of each level's objectness: fine levels have many cells and few objects."""


class YoloLoss:
    """Box (1 − CIoU), objectness (BCE against the IoU) and class (BCE) losses of a Detect head.

    Args:
        head: gives anchors, strides and the number of classes.
        settings: gains, label smoothing and the ratio of the assigner.
        side: of the square input, pixels; it scales the objectness.
    """

    def __init__(self, head: Detect, settings: LossSettings, side: int) -> None:
        head.check_trainable()
        levels = len(head.strides)
        self.head = head
        self.assigner = RatioAssigner(settings.anchor_ratio)
        self.box_gain = settings.box_gain * REFERENCE_LEVELS / levels
        self.objectness_gain = (
            settings.objectness_gain * (side / REFERENCE_SIDE) ** 2 * REFERENCE_LEVELS / levels
        )
        self.class_gain = (
            settings.class_gain * head.nc / REFERENCE_CLASSES * REFERENCE_LEVELS / levels
        )
        self.balance = LEVEL_BALANCE.get(levels, OTHER_LEVEL_BALANCE)
        self.positive = 1 - settings.label_smoothing / 2
        self.negative = settings.label_smoothing / 2

    def __call__(self, maps: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Losses of a batch, each a mean over it.

        Among several processes the batch is that of all of them: a process gets its part of the
        sum over the number of predictions in all.

        Args:
            maps: per level (b, anchors, h, w, 5 + classes); b may be 0.
            targets: of the batch.

        Returns:
            ``loss_box``, ``loss_objectness``, ``loss_class``: scalars that carry gradients.
        """
        maps = [raw if raw.dtype == torch.float64 else raw.float() for raw in maps]
        sizes_hw = [(raw.shape[2], raw.shape[3]) for raw in maps]
        anchors_wh = self.head.anchors_wh.to(maps[0].dtype)
        assignments = self.assigner(targets, anchors_wh, self.head.strides, sizes_hw)
        counts = total(maps[0].new_tensor([len(maps[0]), *map(len, assignments)])).clamp(min=1)
        box = objectness = classes = maps[0].new_zeros(())
        parts = (maps, assignments, counts[1:], anchors_wh, self.head.strides, self.balance)
        for raw, assignment, count, anchors, stride, balance in zip(*parts, strict=False):
            truth = torch.zeros_like(raw[..., 4])
            if len(assignment):
                chosen = raw[assignment.image, assignment.anchor, assignment.y, assignment.x]
                overlap = self._overlap(chosen, assignment, anchors, stride, targets)
                box = box + (1 - overlap).sum() / count
                truth = _objectness(truth, assignment, overlap.detach().clamp(min=0))
                classes = classes + self._class_loss(chosen[:, 5:], assignment, targets) / count
            entropy = F.binary_cross_entropy_with_logits(raw[..., 4], truth, reduction="sum")
            cells = raw.shape[1:4].numel()
            objectness = objectness + balance * entropy / (counts[0] * cells)
        return {
            "loss_box": box * self.box_gain,
            "loss_objectness": objectness * self.objectness_gain,
            "loss_class": classes * self.class_gain,
        }

    def _overlap(
        self,
        chosen: Tensor,
        assignment: LevelAssignment,
        anchors_wh: Tensor,
        stride: int,
        targets: Targets,
    ) -> Tensor:
        """(k,) CIoU of the chosen predictions and their truths."""
        sigmoid = chosen[:, :4].sigmoid() * 2
        cells = torch.stack((assignment.x, assignment.y), -1)
        centre = (sigmoid[:, :2] - 0.5 + cells) * stride
        size = sigmoid[:, 2:].square() * anchors_wh[assignment.anchor]
        boxes_xyxy = cxcywh_to_xyxy(torch.cat((centre, size), -1))
        return complete_iou(boxes_xyxy, targets.boxes_xyxy[assignment.target])

    def _class_loss(self, logits: Tensor, assignment: LevelAssignment, targets: Targets) -> Tensor:
        """Sum over the (k, classes) predictions, a mean over the classes of each."""
        if self.head.nc == 1:  # objectness says it all
            return logits.new_zeros(())
        truth = torch.full_like(logits, self.negative)
        truth.scatter_(1, targets.class_ids[assignment.target][:, None], self.positive)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
        return entropy / self.head.nc


def _objectness(truth: Tensor, assignment: LevelAssignment, overlap: Tensor) -> Tensor:
    """Put the overlaps into the map; where two truths share a prediction, the larger one."""
    _, anchors, height, width = truth.shape
    cell = (assignment.image * anchors + assignment.anchor) * height + assignment.y
    index = cell * width + assignment.x
    return truth.flatten().scatter_reduce(0, index, overlap, "amax").view_as(truth)
