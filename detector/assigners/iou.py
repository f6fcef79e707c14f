"""SSD's assignment by IoU (arXiv 1512.02325, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.structures.boxes import pairwise_iou
from detector.structures.samples import Targets


class IouAssigner:
    """Assigner of default boxes to targets as in SSD (arXiv 1512.02325, section 2.2).

    First each target gets the default box of largest IoU: pairs are taken in order of falling IoU,
    each box for one target only, so that no target loses its only box to another one. Every other
    default box is assigned to the target of largest IoU, if that is at least ``threshold``.

    Args:
        threshold: smallest IoU of the second step.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def __call__(self, targets: Targets, default_xyxy: Tensor, batch: int) -> Tensor:
        """Assign a batch's targets.

        Args:
            targets: m boxes in pixels of the input.
            default_xyxy: (n, 4) default boxes, pixels; or (batch, n, 4), those of each image.
            batch: number of images.

        Returns:
            (batch, n) int64: index into the batch's targets, −1 for the background.
        """
        anchors = default_xyxy.expand(batch, -1, -1)
        assigned = torch.full(anchors.shape[:2], -1, device=anchors.device)
        for image in range(batch):
            index = (targets.image_index == image).nonzero().flatten()
            if len(index):
                boxes_xyxy = targets.boxes_xyxy[index].to(anchors.dtype)
                match = self.match(pairwise_iou(boxes_xyxy, anchors[image]))
                assigned[image] = torch.where(match >= 0, index[match], -1)
        return assigned

    def match(self, overlaps: Tensor) -> Tensor:
        """Return the target of each default box, (n,), or −1, from the (m, n) IoU."""
        best, target = overlaps.max(0)
        target = torch.where(best >= self.threshold, target, -1)
        own_box = best_pairs(overlaps)
        has_box = (own_box >= 0).nonzero().flatten()
        target[own_box[has_box]] = has_box
        return target


def best_pairs(overlaps: Tensor) -> Tensor:
    """Pair rows with columns greedily by falling values; each row and column is used once.

    Ties are resolved in favour of the lower row, then of the lower column.

    Args:
        overlaps: (m, n) values of at least 0; where a value is 0 there is no pair.

    Returns:
        (m,) int64, the column of each row; −1 for a row without one.

    >>> best_pairs(torch.tensor([[0.9, 0.5], [0.8, 0.1]]))
    tensor([0, 1])
    """
    best, column = overlaps.max(1)
    column = torch.where(best > 0, column, -1)
    if len(column.unique()) == len(column):  # no conflicts
        return column
    left = overlaps.clone()
    pairs = torch.full_like(column, -1)
    while float(best.max()) > 0:
        row = best.argmax()
        taken = column[row]
        pairs[row] = taken
        left[:, taken], best[row] = 0, 0
        again = (column == taken) & (best > 0)
        best[again], column[again] = left[again].max(1)
    return pairs
