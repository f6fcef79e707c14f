"""YOLOv5's loss: named scalars from raw outputs and an assignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from detector.assigners import (
    AlignedAssigner,
    AnchorGrid,
    Assigner,
    Assignment,
    RatioAssigner,
    SimOtaAssigner,
)
from detector.heads.yolo import Detect
from detector.losses.binary import BINARY_LOSSES
from detector.losses.raw_predictions import RawPredictions
from detector.settings import YoloLossSettings
from detector.structures.boxes import complete_iou, distance_iou, generalized_iou, scylla_iou
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum
from detector.utils.errors import DetectorError

REFERENCE_CLASSES, REFERENCE_SIDE, REFERENCE_LEVELS = 80, 640, 3
"""The gains are those of COCO at 640 pixels on three levels; others are scaled to them."""

LEVEL_BALANCE = {3: (4.0, 1.0, 0.4)}
OTHER_LEVEL_BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02)
"""Weight of each level's objectness: fine levels have many cells and few objects."""

OVERLAPS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ciou": complete_iou,
    "siou": scylla_iou,
    "diou": distance_iou,
    "giou": generalized_iou,
}


class YoloLoss:
    """Box, objectness and class losses of a Detect head.

    By default they are 1 − CIoU, BCE of the objectness against the CIoU, and BCE of the classes.

    Args:
        head: gives anchors, strides and the number of classes.
        settings: assigner, the functions, gains, label smoothing.
        side: of the square input, pixels; it scales the objectness.
    """

    def __init__(self, head: Detect, settings: YoloLossSettings, side: int) -> None:
        head.check_trainable()
        levels = len(head.strides)
        if levels > len(OTHER_LEVEL_BALANCE):
            raise DetectorError(
                f"the loss has weights for up to {len(OTHER_LEVEL_BALANCE)} levels, the head has "
                f"{levels}"
            )
        self.head = head
        self.assigner = make_assigner(settings)
        self.overlap = OVERLAPS[settings.box_loss]
        self.objectness_loss = BINARY_LOSSES[settings.objectness_loss]
        self.class_loss = BINARY_LOSSES[settings.class_loss]
        self.class_is_quality = settings.class_loss == "qfl"
        self.box_gain = settings.box_gain * REFERENCE_LEVELS / levels
        self.objectness_gain = (
            settings.objectness_gain * (side / REFERENCE_SIDE) ** 2 * REFERENCE_LEVELS / levels
        )
        self.class_gain = (
            settings.class_gain * head.nc / REFERENCE_CLASSES * REFERENCE_LEVELS / levels
        )
        self.balance = LEVEL_BALANCE.get(levels, OTHER_LEVEL_BALANCE[:levels])
        self.positive = 1 - settings.label_smoothing / 2
        self.negative = settings.label_smoothing / 2

    def __call__(self, raw_outputs: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of a batch: means over each level, added up.

        Among several processes the batch is that of all of them: a process gets its part of the
        sum over the number of predictions in all.

        Args:
            raw_outputs: per level (b, anchors, h, w, 5 + classes); b may be 0.
            targets: of the batch.

        Returns:
            ``loss_box``, ``loss_objectness``, ``loss_class``: scalars that carry gradients.
        """
        predictions = RawPredictions(self.head, raw_outputs)
        grid = predictions.grid
        pairs = self.assigner(targets, grid, predictions)
        boxes_xyxy, logits = predictions.read(pairs)
        overlap = self.overlap(boxes_xyxy, targets.boxes_xyxy[pairs.target].to(boxes_xyxy.dtype))
        quality = overlap.detach().clamp(min=0)
        classes = self._class_losses(logits[:, 1:], targets.class_ids[pairs.target], quality)
        images, share = _shares(len(raw_outputs[0]), pairs, grid)
        objectness = self._objectness(predictions.objectness(), grid, pairs, quality) / images
        return {
            "loss_box": ((1 - overlap) * share).sum() * self.box_gain,
            "loss_objectness": objectness * self.objectness_gain,
            "loss_class": (classes * share).sum() * self.class_gain,
        }

    def _class_losses(self, logits: Tensor, class_ids: Tensor, quality: Tensor) -> Tensor:
        """(k, classes), (k,), (k,) → (k,)."""
        if self.head.nc == 1:  # objectness says it all
            return logits.new_zeros(len(logits))
        wanted = self.positive * (quality if self.class_is_quality else torch.ones_like(quality))
        target = torch.full_like(logits, self.negative)
        target.scatter_(1, class_ids[:, None], wanted[:, None])
        return self.class_loss(logits, target).mean(-1)

    def _objectness(
        self, logits: Tensor, grid: AnchorGrid, pairs: Assignment, quality: Tensor
    ) -> Tensor:
        """Compare (b, n) logits with the quality; of targets that share a prediction, the largest.

        Means over each level of an image, added up over levels and images.
        """
        index = pairs.image * len(grid) + pairs.prediction
        target = torch.zeros_like(logits).flatten().scatter_reduce(0, index, quality, "amax")
        losses = self.objectness_loss(logits, target.view_as(logits))
        levels = zip(self.balance, losses.split(grid.counts, 1), grid.counts, strict=True)
        return torch.stack([balance * level.sum() / n for balance, level, n in levels]).sum()


def make_assigner(settings: YoloLossSettings) -> Assigner[AnchorGrid]:
    """Return the assigner that the settings name."""
    by_ratio = RatioAssigner(settings.anchor_ratio)
    assigners: dict[str, Assigner[AnchorGrid]] = {
        "ratio": by_ratio,
        "simota": SimOtaAssigner(by_ratio),
        "aligned": AlignedAssigner(),
    }
    return assigners[settings.assigner]


def _shares(images: int, pairs: Assignment, grid: AnchorGrid) -> tuple[Tensor, Tensor]:
    """Return the images of all processes, and (k,) weights that turn a sum into level means.

    The means are over the pairs of all processes.
    """
    level = grid.locate(pairs.prediction)[0]
    own = level.bincount(minlength=len(grid.counts)).to(grid.anchors_wh.dtype)
    counts = all_reduce_sum(torch.cat((own.new_tensor([images]), own))).clamp(min=1)
    return counts[0], 1 / counts[1:][level]
