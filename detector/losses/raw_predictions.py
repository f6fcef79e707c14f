"""Access to raw outputs of an anchor-based head by pairs, for assigners and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.assigners import AnchorGrid, Assignment
from detector.heads.yolo import Detect


class RawPredictions:
    """Raw outputs of a Detect head, decoded only for the pairs that are asked for.

    Args:
        head: head that decodes, and gives anchors and strides.
        raw_outputs: per level (b, anchors, h, w, 5 + classes).

    Attributes:
        grid: places and anchors of the predictions.
    """

    def __init__(self, head: Detect, raw_outputs: Sequence[Tensor]) -> None:
        self.head = head
        levels = [raw if raw.dtype == torch.float64 else raw.float() for raw in raw_outputs]
        # The memory order of a channels-last network: gradients need no copy into another order.
        self.levels = [raw.permute(0, 2, 3, 1, 4) for raw in levels]  # (b, h, w, anchors, …)
        sizes_hw = [(raw.shape[1], raw.shape[2]) for raw in self.levels]
        self.grid = AnchorGrid(head.anchors_wh.to(levels[0].dtype), head.strides, sizes_hw)

    def all_classes(self, pairs: Assignment) -> tuple[Tensor, Tensor]:
        """Return (k, 4) boxes_xyxy in pixels and (k, classes) scores."""
        boxes_xyxy, logits = self.read(pairs)
        return boxes_xyxy, self.head.decode_scores(logits)

    def one_class(self, pairs: Assignment, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (k, 4) boxes_xyxy in pixels and (k,) scores of (k,) classes."""
        boxes_xyxy, logits = self.read(pairs, class_ids)
        return boxes_xyxy, self.head.decode_scores(logits)[:, 0]

    def read(self, pairs: Assignment, class_ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return boxes, and logits of objectness and classes, with their gradients.

        Args:
            pairs: k pairs; their images and predictions are used.
            class_ids: (k,) one class for each pair; by default all classes are returned.

        Returns:
            (k, 4) boxes_xyxy in pixels; (k, 1 + classes), or (k, 2) for one class.
        """
        level, y, x, anchor = self.grid.locate(pairs.prediction)
        values = self._gather((pairs.image, y, x, anchor), level, class_ids)
        cells_xy = torch.stack((x, y), -1)
        return self.head.decode_boxes(values[:, :4], level, cells_xy, anchor), values[:, 4:]

    def objectness(self) -> Tensor:
        """Return the logits of all predictions' objectness, (b, n)."""
        return torch.cat([raw[..., 4].flatten(1) for raw in self.levels], 1)

    def _gather(self, place: tuple[Tensor, ...], level: Tensor, class_ids: Tensor | None) -> Tensor:
        """Return (k, 5 + classes) raw values, or (k, 6) for one class each.

        Args:
            place: image, row, column and anchor of each prediction, (k,) each.
            level: (k,) level of each prediction.
            class_ids: (k,) one class for each prediction, or None.
        """
        members = [(level == number).nonzero().flatten() for number in range(len(self.levels))]
        parts = []
        for raw, at in zip(self.levels, members, strict=True):
            index = [part[at] for part in place]
            if class_ids is not None:  # reading all classes of many pairs would be slow
                common = torch.arange(5, device=at.device).expand(len(at), -1)
                channels = torch.cat((common, 5 + class_ids[at, None]), 1)
                index = [*(part[:, None] for part in index), channels]
            parts.append(raw[tuple(index)])
        order = torch.cat(members)
        position = torch.empty_like(order)
        position[order] = torch.arange(len(order), device=order.device)
        return torch.cat(parts)[position]
