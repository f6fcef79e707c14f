"""Anchor-free heads: one prediction per cell of a level, boxes relative to the cell's centre."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.heads.classes import ClassRows
from detector.heads.head import Head
from detector.structures.points import Points, cell_centres

PRIOR = 0.01
"""Probability of a class, or of objectness, at the start (arXiv 1708.02002, section 3.3)."""
PRIOR_LOGIT = -math.log((1 - PRIOR) / PRIOR)


def fill_bias(layer: nn.Module, value: float) -> None:
    """Set each bias of a convolution to one value."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, value)


class PointHead(Head):
    """Base class of anchor-free heads, which have a point in the centre of each cell.

    ``forward`` returns raw outputs, one per level, of shape (b, h, w, k); the last axis holds
    ``box_values`` numbers of the box, then the logits of objectness, if the head has it, and of
    each class.

    Args:
        nc: number of classes.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    runs_in_float32 = False

    box_values: int = 4
    """Number of raw values from which a box is decoded."""

    class_layers: nn.ModuleList
    """Last convolution of each level's classes."""

    def __init__(self, nc: int, c_in: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        if nc < 1:
            raise ValueError(f"argument 'nc': expected at least 1 class, found {nc}")
        self.nc = nc
        self.c_in = tuple(c_in)
        self.strides = tuple(strides)

    def level_outputs(self, level: int, feature: Tensor) -> Tensor:
        """Return the raw outputs (b, k, h, w) of one level for its feature (b, c, h, w)."""
        raise NotImplementedError

    def decode_boxes(self, raw: Tensor, xy: Tensor, strides: Tensor) -> Tensor:
        """Decode boxes; shapes broadcast.

        Args:
            raw: (..., box_values) raw values.
            xy: (..., 2) centre of each box's cell, pixels.
            strides: (..., 1) side of the cell, pixels.

        Returns:
            (..., 4) boxes_xyxy, pixels of the input.
        """
        raise NotImplementedError

    def decode_scores(self, logits: Tensor) -> Tensor:
        """Decode the logits behind the box values: (..., k) → (..., classes) scores."""
        return logits.sigmoid()

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return raw outputs (b, h, w, k) for (b, c, h, w), per level."""
        return [
            self.level_outputs(level, feature).permute(0, 2, 3, 1)
            for level, feature in enumerate(features)
        ]

    def points(self, raw_outputs: Sequence[Tensor]) -> Points:
        """Return the points of the predictions, in their order: level, row, column."""
        sizes_hw = [(raw.shape[1], raw.shape[2]) for raw in raw_outputs]
        return Points(*cell_centres(self.strides, sizes_hw, raw_outputs[0]))

    def decode(self, raw_outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (b, n, 4) boxes_xyxy in pixels of the input and (b, n, classes) scores."""
        points = self.points(raw_outputs)
        raw = torch.cat([level.flatten(1, 2) for level in raw_outputs], 1)
        boxes_xyxy = self.decode_boxes(
            raw[..., : self.box_values], points.xy, points.strides[:, None]
        )
        return boxes_xyxy, self.decode_scores(raw[..., self.box_values :])

    def maps(self, raw_outputs: list[Tensor]) -> list[Tensor]:
        """Return the outputs of :meth:`level_outputs`."""
        return [raw.permute(0, 3, 1, 2) for raw in raw_outputs]

    def class_rows(self, name: str) -> ClassRows | None:
        """Return the rows of the last convolutions of the classes, one for each class."""
        path = name.rpartition(".")[0]
        last = {id(layer) for layer in self.class_layers}
        return ClassRows(1, 0) if path and id(self.get_submodule(path)) in last else None
