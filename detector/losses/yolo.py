"""YOLOv5's loss: box, objectness and class losses from raw outputs and targets."""

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
from detector.settings.heads import YoloLossSettings
from detector.structures.boxes import complete_iou, distance_iou, generalized_iou, scylla_iou
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum
from detector.utils.errors import DetectorError

REFERENCE_CLASSES, REFERENCE_SIDE, REFERENCE_LEVELS = 80, 640, 3
"""Reference of the gains: COCO's 80 classes, 640 pixels, three levels; other cases are scaled."""

LEVEL_BALANCE = {3: (4.0, 1.0, 0.4)}
OTHER_LEVEL_BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02)
"""Weights of the levels' objectness losses: fine levels have many cells and few objects."""

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
        head: head that gives anchors, strides and the number of classes.
        settings: assigner, loss functions, gains and label smoothing.
        side: side of the square with the input's area, pixels: the number of predictions, which
            scales the objectness loss, follows the area.

    Raises:
        DetectorError: the head cannot be trained, or has too many levels.
    """

    def __init__(self, head: Detect, settings: YoloLossSettings, side: float) -> None:
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
        """Return the losses of a batch: the sum over levels of each level's mean.

        In distributed training the means are over the predictions of all processes: each process
        returns its part of the sum.

        Args:
            raw_outputs: per level (b, anchors, h, w, 5 + classes); b may be 0.
            targets: targets of the batch.

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
        """Return the class loss of each pair: (k, classes), (k,), (k,) → (k,)."""
        if self.head.nc == 1:  # the objectness is the probability of the only class
            return logits.new_zeros(len(logits))
        positive = self.positive * (quality if self.class_is_quality else torch.ones_like(quality))
        target = torch.full_like(logits, self.negative)
        target.scatter_(1, class_ids[:, None], positive[:, None])
        return self.class_loss(logits, target).mean(-1)

    def _objectness(
        self, logits: Tensor, grid: AnchorGrid, pairs: Assignment, quality: Tensor
    ) -> Tensor:
        """Return the objectness loss: each level's mean in an image, summed over levels and images.

        The target of a prediction is its quality, the largest one of several, and 0 without a pair.

        Args:
            logits: (b, n) objectness of all predictions.
            grid: places of the predictions.
            pairs: k pairs.
            quality: (k,) IoU of each pair, at least 0.
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
    """Return the number of images of all processes, and the weight of each pair, (k,).

    The weighted sum over a process's pairs is its part of the sum over levels of each level's mean
    over the pairs of all processes.
    """
    level = grid.locate(pairs.prediction)[0]
    own = level.bincount(minlength=len(grid.counts)).to(grid.anchors_wh.dtype)
    counts = all_reduce_sum(torch.cat((own.new_tensor([images]), own))).clamp(min=1)
    return counts[0], 1 / counts[1:][level]
