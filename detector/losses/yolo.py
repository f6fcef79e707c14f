"""YOLOv5's loss: named scalars from raw maps and an assignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from detector.assigners import (
    AlignedAssigner,
    Assignment,
    Grid,
    GridAssigner,
    RatioAssigner,
    SimOtaAssigner,
)
from detector.heads.yolo import Detect
from detector.losses.binary import BINARY_LOSSES
from detector.settings import YoloLossSettings
from detector.structures.boxes import complete_iou, distance_iou, generalized_iou, scylla_iou
from detector.structures.samples import Targets
from detector.utils.collectives import total
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

    def __call__(self, maps: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Losses of a batch: means over each level, added up.

        Among several processes the batch is that of all of them: a process gets its part of the
        sum over the number of predictions in all.

        Args:
            maps: per level (b, anchors, h, w, 5 + classes); b may be 0.
            targets: of the batch.

        Returns:
            ``loss_box``, ``loss_objectness``, ``loss_class``: scalars that carry gradients.
        """
        maps = [raw if raw.dtype == torch.float64 else raw.float() for raw in maps]
        # In the memory order of a channels-last network: no gradient is copied into another one.
        maps = [raw.permute(0, 2, 3, 1, 4) for raw in maps]  # (b, h, w, anchors, 5 + classes)
        sizes_hw = [(raw.shape[1], raw.shape[2]) for raw in maps]
        grid = Grid(self.head.anchors_wh.to(maps[0].dtype), self.head.strides, sizes_hw)
        pairs = self.assigner(targets, grid, partial(_predict, maps, grid))
        chosen = _chosen(maps, grid, pairs)
        truths_xyxy = targets.boxes_xyxy[pairs.target].to(chosen.dtype)
        overlap = self.overlap(grid.decode(chosen[:, :4], pairs.prediction), truths_xyxy)
        quality = overlap.detach().clamp(min=0)
        classes = self._class_losses(chosen[:, 5:], targets.class_ids[pairs.target], quality)
        images, share = _shares(len(maps[0]), pairs, grid)
        objectness = self._objectness(maps, grid, pairs, quality) / images
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
        truth = torch.full_like(logits, self.negative)
        truth.scatter_(1, class_ids[:, None], wanted[:, None])
        return self.class_loss(logits, truth).mean(-1)

    def _objectness(
        self, maps: list[Tensor], grid: Grid, pairs: Assignment, quality: Tensor
    ) -> Tensor:
        """Against the quality; where truths share a prediction, against the largest one.

        Means over each level of an image, added up over levels and images.
        """
        logits = torch.cat([raw[..., 4].flatten(1) for raw in maps], 1)  # (b, n)
        index = pairs.image * len(grid) + pairs.prediction
        truth = torch.zeros_like(logits).flatten().scatter_reduce(0, index, quality, "amax")
        losses = self.objectness_loss(logits, truth.view_as(logits))
        levels = zip(self.balance, losses.split(grid.counts, 1), grid.counts, strict=True)
        return torch.stack([balance * level.sum() / n for balance, level, n in levels]).sum()


def make_assigner(settings: YoloLossSettings) -> GridAssigner:
    """The assigner that the settings name."""
    by_ratio = RatioAssigner(settings.anchor_ratio)
    assigners: dict[str, GridAssigner] = {
        "ratio": by_ratio,
        "simota": SimOtaAssigner(by_ratio),
        "aligned": AlignedAssigner(),
    }
    return assigners[settings.assigner]


def _predict(maps: list[Tensor], grid: Grid, pairs: Assignment) -> tuple[Tensor, Tensor]:
    """Boxes, and logits of objectness and classes, at the pairs' predictions."""
    chosen = _chosen(maps, grid, pairs)
    return grid.decode(chosen[:, :4], pairs.prediction), chosen[:, 4:]


def _chosen(maps: list[Tensor], grid: Grid, pairs: Assignment) -> Tensor:
    """(k, 5 + classes) raw values at the pairs' predictions."""
    level, y, x, anchor = grid.locate(pairs.prediction)
    places = [(level == number).nonzero().flatten() for number in range(len(maps))]
    parts = [
        raw[pairs.image[at], y[at], x[at], anchor[at]] for raw, at in zip(maps, places, strict=True)
    ]
    return torch.cat(parts)[torch.cat(places).argsort()]


def _shares(images: int, pairs: Assignment, grid: Grid) -> tuple[Tensor, Tensor]:
    """The images of all processes, and (k,) weights that turn a sum into one of the levels' means.

    The means are over the pairs of all processes.
    """
    level = grid.locate(pairs.prediction)[0]
    own = level.bincount(minlength=len(grid.counts)).to(grid.anchors_wh.dtype)
    counts = total(torch.cat((own.new_tensor([images]), own))).clamp(min=1)
    return counts[0], 1 / counts[1:][level]
