"""Grid of an anchor-based head's predictions: level, row, column and anchor of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.structures.points import Points, cell_centres


class AnchorGrid(Points):
    """Points with several anchors each; predictions are ordered by level, row, column, anchor.

    Args:
        anchors_wh: (levels, anchors, 2) widths and heights of the anchors, pixels.
        level_strides: stride of each level, pixels.
        sizes_hw: height and width of each level, cells.

    Attributes:
        counts: number of predictions of each level.
    """

    def __init__(
        self, anchors_wh: Tensor, level_strides: Sequence[int], sizes_hw: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__(*cell_centres(level_strides, sizes_hw, anchors_wh), anchors_wh.shape[1])
        device = anchors_wh.device
        self.anchors_wh = anchors_wh
        self.level_strides = torch.tensor(level_strides, device=device)
        self.sizes_hw = torch.tensor(sizes_hw, device=device)
        self.counts = [self.per_point * height * width for height, width in sizes_hw]
        counts = torch.tensor(self.counts, device=device)
        self.starts = counts.cumsum(0) - counts

    def index(self, level: Tensor | int, y: Tensor, x: Tensor, anchor: Tensor) -> Tensor:
        """Return the indices, among all predictions, of given levels, rows, columns and anchors."""
        width = self.sizes_hw[level][..., 1]
        return self.starts[level] + (y * width + x) * self.per_point + anchor

    def locate(self, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return level, row, column and anchor, (k,) each, of (k,) prediction indices."""
        level = torch.bucketize(prediction, self.starts, right=True) - 1
        width = self.sizes_hw[level, 1]
        cell = (prediction - self.starts[level]) // self.per_point
        return level, cell // width, cell % width, prediction % self.per_point
