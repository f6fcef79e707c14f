"""Pairs of predictions and targets, and ranks among them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.structures.points import Points


@dataclass(frozen=True)
class Assignment:
    """Pairs of a prediction and the target that it is assigned; all fields are (k,) int64.

    Attributes:
        image: index of the image in the batch.
        prediction: index into the image's predictions, in the order of its :class:`Points`.
        target: index into the batch's targets.
    """

    image: Tensor
    prediction: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, chosen: Tensor) -> Assignment:
        """Return the pairs that a mask or indices select."""
        return Assignment(self.image[chosen], self.prediction[chosen], self.target[chosen])


def rank_within(values: Tensor, groups: Tensor) -> Tensor:
    """Return the rank of each value in its group, 0 for the smallest; ties keep their order.

    Args:
        values: (k,) values.
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


def one_target_each(pairs: Assignment, values: Tensor, points: Points) -> Assignment:
    """Keep for each prediction the pair with the smallest of (k,) values."""
    return pairs[rank_within(values, pairs.image * len(points) + pairs.prediction) == 0]
