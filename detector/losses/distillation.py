"""Distillation of raw outputs: a head's own losses, with a teacher's outputs as soft targets.

Teacher and student have one way of decoding, so that their predictions lie at the same places. All
predictions take part, each weighted by the teacher's confidence as in "Object detection at 200
frames per second" (arXiv 1805.06361, section 3.2): its objectness, or its best class score where
the head has no objectness. Classes and objectness are compared by KL divergence, as in Hinton et
al. (arXiv 1503.02531); distributions of distances too, as in YOLOv6's self-distillation (arXiv
2301.05586, section 2.3) and localization distillation (arXiv 2102.12252); boxes by their overlap.
Gains and divisors are those of the head's own loss, with the sum of confidences in the place of the
number of positives. All is 0 for a student that gives what the teacher gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.heads.anchors import decode_grid
from detector.heads.auxiliary import MAIN
from detector.losses.distribution import DistributionLoss
from detector.losses.point_predictions import PointPredictions
from detector.losses.yolo import YoloLoss
from detector.losses.yolox import YoloxLoss
from detector.structures.boxes import complete_iou, iou
from detector.structures.points import grid_xy
from detector.utils.collectives import all_reduce_sum

OutputDistillation = Callable[[Any, Any], Tensor]
"""Function from the student's and the teacher's raw outputs to a loss, a mean over images as the
head's own losses are."""


def binary_divergence(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the KL divergence of two Bernoulli distributions, elementwise: the teacher's first."""
    target = teacher_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(teacher_logits, target, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy


def divergence(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the KL divergence of two softmax distributions over an axis: (..., n) → (...)."""
    own, other = logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    return F.kl_div(own, other, reduction="none", log_target=True).sum(-1)


class YoloDistillation:
    """Distillation of a Detect head.

    Args:
        loss: the head's own loss, whose gains and level weights are taken.
    """

    def __init__(self, loss: YoloLoss) -> None:
        self.loss = loss

    def __call__(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """Return the loss of a batch: per level (b, anchors, h, w, 5 + classes)."""
        pairs = enumerate(zip(student, teacher, strict=True))
        return torch.stack([self._level(i, *map(_exact, pair)) for i, pair in pairs]).sum()

    def _level(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        loss, own, other = self.loss, student[..., 4:], teacher[..., 4:]
        weight = other[..., 0].sigmoid()
        boxes_xyxy, targets_xyxy = (self._boxes(level, raw) for raw in (student, teacher))
        pairs = (1 - complete_iou(boxes_xyxy, targets_xyxy)) * loss.box_gain
        if loss.head.nc > 1:  # the objectness is the probability of the only class
            classes = binary_divergence(own[..., 1:], other[..., 1:]).mean(-1)
            pairs = pairs + classes * loss.class_gain
        objectness = binary_divergence(own[..., 0], other[..., 0]).flatten(1).mean(1).sum()
        images = all_reduce_sum(weight.new_tensor(len(weight))).clamp(min=1)
        factor = loss.balance[level] * loss.objectness_gain / images
        return (pairs * weight).sum() / _total(weight) + objectness * factor

    def _boxes(self, level: int, raw: Tensor) -> Tensor:
        """Return the boxes_xyxy of all predictions of a level, (b, anchors, h, w, 4) pixels."""
        head = self.loss.head
        sizes_wh = head.anchors_wh[level].to(raw.dtype)[:, None, None]
        cells_xy = grid_xy(raw.shape[2], raw.shape[3], raw)
        return decode_grid(raw[..., :4], cells_xy, sizes_wh, head.strides[level])


class YoloxDistillation:
    """Distillation of a YOLOXHead.

    Args:
        loss: the head's own loss, whose gains are taken.
    """

    def __init__(self, loss: YoloxLoss) -> None:
        self.loss = loss

    def __call__(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """Return the loss of a batch: per level (b, h, w, 4 + 1 + classes)."""
        gains, own, other = self.loss.settings, *_predictions(self.loss, student, teacher)
        weight = other.logits[..., 0].sigmoid()
        overlap = iou(_boxes(own), _boxes(other))
        parts = binary_divergence(own.logits, other.logits)
        classes = parts[..., 1:].sum(-1) * gains.class_gain
        pairs = (1 - overlap.square()) * gains.box_gain + classes
        objectness = parts[..., 0].sum() * gains.objectness_gain
        return ((pairs * weight).sum() + objectness) / _total(weight)


class DistanceDistillation:
    """Distillation of a head of distances, with bins or without.

    Args:
        loss: the head's own loss, whose gains are taken.
    """

    def __init__(self, loss: DistributionLoss) -> None:
        self.loss = loss

    def __call__(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """Return the loss of a batch: per level (b, h, w, box values + classes)."""
        gains, own, other = self.loss.settings, *_predictions(self.loss, student, teacher)
        weight = other.logits.sigmoid().amax(-1)
        pairs = (1 - complete_iou(_boxes(own), _boxes(other))) * gains.box_gain
        if self.loss.head.bins:
            own_bins, other_bins = (
                one.raw[..., : self.loss.head.box_values].unflatten(-1, (4, -1))
                for one in (own, other)
            )
            pairs = pairs + divergence(own_bins, other_bins).mean(-1) * gains.dfl_gain
        classes = binary_divergence(own.logits, other.logits).sum() * gains.class_gain
        return ((pairs * weight).sum() + classes) / _total(weight)


class MainDistillation:
    """Distillation of the main head of an AuxiliaryHead.

    Args:
        main: distillation of that head.
    """

    def __init__(self, main: OutputDistillation) -> None:
        self.main = main

    def __call__(self, student: dict[str, Any], teacher: Any) -> Tensor:
        """Return the loss of a batch: both heads' outputs, and those of the teacher's main head."""
        return self.main(student[MAIN], teacher)


def _predictions(
    loss: YoloxLoss | DistributionLoss, student: list[Tensor], teacher: list[Tensor]
) -> tuple[PointPredictions, PointPredictions]:
    return PointPredictions(loss.head, student), PointPredictions(loss.head, teacher)


def _boxes(predictions: PointPredictions) -> Tensor:
    """Return the boxes_xyxy of all predictions, (b, n, 4) pixels."""
    head, points = predictions.head, predictions.points
    raw = predictions.raw[..., : head.box_values]
    return head.decode_boxes(raw, points.xy, points.strides[:, None])


def _exact(raw: Tensor) -> Tensor:
    return raw if raw.dtype == torch.float64 else raw.float()


def _total(weight: Tensor) -> Tensor:
    """Return the sum of the confidences in the images of all processes, at least 1."""
    return all_reduce_sum(weight.sum()).clamp(min=1)
