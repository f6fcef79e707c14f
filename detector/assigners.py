"""Which truth for which prediction: indices only, no loss, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.boxes import pairwise_iou, xyxy_to_cxcywh
from detector.structures import Targets


@dataclass(frozen=True)
class LevelAssignment:
    """The predictions of one level that answer for a truth; all fields are (k,) int64.

    Attributes:
        image: index of the image in the batch.
        anchor: index of the anchor.
        y: row of the cell.
        x: column of the cell.
        target: index of the truth in the batch's targets.
    """

    image: Tensor
    anchor: Tensor
    y: Tensor
    x: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)


class RatioAssigner:
    """YOLOv5's matching by side lengths.

    A truth belongs to every anchor that no side of it exceeds, or falls short of, by the factor
    ``ratio``: max(w/w_a, w_a/w, h/h_a, h_a/h) < ratio. It is assigned in the cell that holds its
    centre and in the two cells next to it, the nearest one sideways and the nearest one up or
    down, as far as they lie inside the map.
    """

    def __init__(self, ratio: float = 4.0) -> None:
        self.ratio = ratio

    def __call__(
        self,
        targets: Targets,
        anchors_wh: Tensor,
        strides: Sequence[int],
        sizes_hw: Sequence[tuple[int, int]],
    ) -> list[LevelAssignment]:
        """Assign a batch's targets.

        Args:
            targets: m boxes in pixels of the input.
            anchors_wh: (levels, anchors, 2) pixels.
            strides: of each level, pixels.
            sizes_hw: of each level's map, cells.
        """
        boxes_cxcywh = xyxy_to_cxcywh(targets.boxes_xyxy)
        return [
            self._level(targets, boxes_cxcywh, anchors, stride, size_hw)
            for anchors, stride, size_hw in zip(anchors_wh, strides, sizes_hw, strict=True)
        ]

    def _level(
        self,
        targets: Targets,
        boxes_cxcywh: Tensor,
        anchors_wh: Tensor,
        stride: int,
        size_hw: tuple[int, int],
    ) -> LevelAssignment:
        ratio = boxes_cxcywh[None, :, 2:] / anchors_wh[:, None]  # (anchors, m, 2)
        fits = torch.maximum(ratio, 1 / ratio).amax(-1) < self.ratio
        anchor, target = fits.nonzero(as_tuple=True)
        cells, source = _nearest_cells(boxes_cxcywh[target, :2] / stride, size_hw)
        target = target[source]
        return LevelAssignment(
            image=targets.image_index[target],
            anchor=anchor[source],
            y=cells[:, 1],
            x=cells[:, 0],
            target=target,
        )


def _nearest_cells(centre_xy: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cells (x, y) that answer for each centre, and the index of the centre they answer for.

    Args:
        centre_xy: (k, 2) in cells.
        size_hw: of the map, cells.
    """
    limit = centre_xy.new_tensor([size_hw[1] - 1, size_hw[0] - 1])
    home = torch.minimum(centre_xy.floor(), limit)
    # A centre in the lower half of its cell is nearest to the cell before, else to the next one.
    step = torch.where(centre_xy - home < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(step[:, 0])
    steps = torch.stack(
        (
            torch.zeros_like(step),
            torch.stack((step[:, 0], zero), -1),
            torch.stack((zero, step[:, 1]), -1),
        )
    )
    cells = home + steps  # (3, k, 2)
    inside = ((cells >= 0) & (cells <= limit)).all(-1)
    source = inside.nonzero(as_tuple=True)[1]
    return cells[inside].long(), source


class IouAssigner:
    """SSD's matching (arXiv 1512.02325, section 2.2).

    A default box belongs to the truth that it overlaps most, if by an IoU of at least
    ``threshold``. Before that, each truth gets the box that it overlaps most: the pairs are taken
    best first, and a box goes to one truth only, so that two truths never share their only box.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def __call__(self, targets: Targets, default_xyxy: Tensor, batch: int) -> Tensor:
        """Assign a batch's targets.

        Args:
            targets: m boxes in pixels of the input.
            default_xyxy: (n, 4) pixels.
            batch: number of images.

        Returns:
            (batch, n) int64: index into the batch's targets, −1 for the background.
        """
        assigned = torch.full((batch, len(default_xyxy)), -1, device=default_xyxy.device)
        for image in range(batch):
            index = (targets.image_index == image).nonzero().flatten()
            if len(index):
                truths = targets.boxes_xyxy[index].to(default_xyxy.dtype)
                match = self.match(pairwise_iou(truths, default_xyxy))
                assigned[image] = torch.where(match >= 0, index[match], -1)
        return assigned

    def match(self, overlaps: Tensor) -> Tensor:
        """(m, n) IoU of truths and boxes → (n,) index of the truth of each box, or −1."""
        best, truth = overlaps.max(0)
        truth = torch.where(best >= self.threshold, truth, -1)
        own_box = best_pairs(overlaps)
        has_box = (own_box >= 0).nonzero().flatten()
        truth[own_box[has_box]] = has_box
        return truth


def best_pairs(overlaps: Tensor) -> Tensor:
    """Pair rows with columns, always the largest value that is left; each is used once.

    Of equal values the one of the lower row, then of the lower column, comes first.

    Args:
        overlaps: (m, n), 0 or more; where the value is 0 there is no pair.

    Returns:
        (m,) int64, the column of each row; −1 where none is left for it.

    >>> best_pairs(torch.tensor([[0.9, 0.5], [0.8, 0.1]]))
    tensor([0, 1])
    """
    best, column = overlaps.max(1)
    column = torch.where(best > 0, column, -1)
    if len(column.unique()) == len(column):  # nobody wants the same one
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
