"""What assigners of anchor-based heads share: the predictions' places, and pairs with truths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from detector.structures.boxes import cxcywh_to_xyxy
from detector.structures.samples import Targets


@dataclass(frozen=True)
class Assignment:
    """Pairs of a prediction and the truth that it answers for; all fields are (k,) int64.

    Attributes:
        image: index of the image in the batch.
        prediction: index into the image's predictions, in the order of a :class:`Grid`.
        target: index of the truth in the batch's targets.
    """

    image: Tensor
    prediction: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, chosen: Tensor) -> Assignment:
        """Some of the pairs, by a mask or by indices."""
        return Assignment(self.image[chosen], self.prediction[chosen], self.target[chosen])


class Grid:
    """Where the n predictions of an image lie: level after level; row, column, anchor in each.

    Args:
        anchors_wh: (levels, anchors, 2) pixels.
        strides: of each level, pixels.
        sizes_hw: of each level's map, cells.

    Attributes:
        counts: predictions of each level.
    """

    def __init__(
        self, anchors_wh: Tensor, strides: Sequence[int], sizes_hw: Sequence[tuple[int, int]]
    ) -> None:
        self.anchors_wh = anchors_wh
        self.strides = torch.tensor(strides, device=anchors_wh.device)
        self.sizes_hw = torch.tensor(sizes_hw, device=anchors_wh.device)
        self.counts = [anchors_wh.shape[1] * height * width for height, width in sizes_hw]
        counts = torch.tensor(self.counts, device=anchors_wh.device)
        self.starts = counts.cumsum(0) - counts

    def __len__(self) -> int:
        return sum(self.counts)

    def index(self, level: Tensor | int, y: Tensor, x: Tensor, anchor: Tensor) -> Tensor:
        """Level, row, column and anchor of predictions → their places among the n."""
        width = self.sizes_hw[level][..., 1]
        return self.starts[level] + (y * width + x) * self.anchors_wh.shape[1] + anchor

    def locate(self, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The inverse: (k,) places → level, row, column and anchor, (k,) each."""
        level = torch.bucketize(prediction, self.starts, right=True) - 1
        width, anchors = self.sizes_hw[level, 1], self.anchors_wh.shape[1]
        cell = (prediction - self.starts[level]) // anchors
        return level, cell // width, cell % width, prediction % anchors

    def decode(self, raw: Tensor, prediction: Tensor) -> Tensor:
        """Raw x, y, w, h, (k, 4), of those predictions → (k, 4) boxes_xyxy in pixels.

        The same as :func:`detector.heads.anchors.decode_grid`.
        """
        level, y, x, anchor = self.locate(prediction)
        sigmoid = raw.sigmoid() * 2
        cell = torch.stack((x, y), -1)
        centre = (sigmoid[:, :2] - 0.5 + cell) * self.strides[level, None]
        size = sigmoid[:, 2:].square() * self.anchors_wh[level, anchor]
        return cxcywh_to_xyxy(torch.cat((centre, size), -1))


Predict = Callable[[Assignment], tuple[Tensor, Tensor]]
"""Pairs → what the network predicts there: (k, 4) boxes_xyxy in pixels, and (k, 1 + classes)
logits of objectness and classes."""


class GridAssigner(Protocol):
    """Assigns the targets of a batch to the predictions of an anchor-based head."""

    def __call__(self, targets: Targets, grid: Grid, predict: Predict) -> Assignment:
        """Assign a batch's targets; no pair occurs twice.

        Args:
            targets: m boxes in pixels of the input.
            grid: where the predictions lie.
            predict: the network's answers, for assigners that look at them.
        """
        ...


def rank_within(values: Tensor, groups: Tensor) -> Tensor:
    """Rank of each value in its group, 0 the smallest; of equal values the first comes first.

    Args:
        values: (k,).
        groups: (k,) int64, the group of each value.

    >>> rank_within(torch.tensor([5.0, 1.0, 3.0]), torch.tensor([7, 7, 2]))
    tensor([1, 0, 0])
    """
    order = values.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    ordered = groups[order]
    position = torch.arange(len(order), device=order.device)
    rank = torch.empty_like(order)
    rank[order] = position - torch.searchsorted(ordered, ordered)
    return rank


def least_of_each_prediction(pairs: Assignment, values: Tensor, grid: Grid) -> Assignment:
    """The pairs in which each prediction has one truth only: the one with the smallest value."""
    return pairs[rank_within(values, pairs.image * len(grid) + pairs.prediction) == 0]
