"""Access to raw outputs of an anchor-free head by pairs, for assigners and losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.assigners import Assignment
from detector.heads.points import PointHead


class PointPredictions:
    """Raw outputs of an anchor-free head, decoded only for the pairs that are asked for.

    Args:
        head: head that decodes.
        raw_outputs: per level (b, h, w, k).

    Attributes:
        raw: (b, n, k) all raw values, at least in float32.
        points: places of the predictions.
    """

    def __init__(self, head: PointHead, raw_outputs: Sequence[Tensor]) -> None:
        self.head = head
        raw = torch.cat([level.flatten(1, 2) for level in raw_outputs], 1)
        self.raw = raw if raw.dtype == torch.float64 else raw.float()
        self.points = head.points([level.to(self.raw.dtype) for level in raw_outputs])

    @property
    def logits(self) -> Tensor:
        """Logits of objectness, if the head has it, and classes, (b, n, …)."""
        return self.raw[..., self.head.box_values :]

    def box_values(self, pairs: Assignment) -> Tensor:
        """Return the (k, box_values) raw values of k pairs' boxes."""
        return self.raw[pairs.image, pairs.prediction, : self.head.box_values]

    def boxes(self, pairs: Assignment) -> Tensor:
        """Return (k, 4) boxes_xyxy in pixels, with their gradients."""
        at = pairs.prediction
        xy, strides = self.points.xy[at], self.points.strides[at, None]
        return self.head.decode_boxes(self.box_values(pairs), xy, strides)

    def all_classes(self, pairs: Assignment) -> tuple[Tensor, Tensor]:
        """Return (k, 4) boxes_xyxy in pixels and (k, classes) scores."""
        logits = self.raw[pairs.image, pairs.prediction, self.head.box_values :]
        return self.boxes(pairs), self.head.decode_scores(logits)

    def one_class(self, pairs: Assignment, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (k, 4) boxes_xyxy in pixels and (k,) scores of (k,) classes."""
        before = self.raw.shape[-1] - self.head.nc  # values before the classes
        channels = torch.arange(self.head.box_values, before, device=class_ids.device)
        channels = torch.cat((channels.expand(len(pairs), -1), before + class_ids[:, None]), 1)
        logits = self.raw[pairs.image[:, None], pairs.prediction[:, None], channels]
        return self.boxes(pairs), self.head.decode_scores(logits)[:, 0]
