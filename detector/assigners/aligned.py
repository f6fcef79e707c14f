"""Task-aligned assignment (TOOD, arXiv 2108.07755, section 3.2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.assigners.grid import (
    Assignment,
    Grid,
    Predict,
    least_of_each_prediction,
    rank_within,
)
from detector.structures.boxes import iou, xyxy_to_cxcywh
from detector.structures.samples import Targets


class AlignedAssigner:
    """A truth takes the predictions that are best in class and box together.

    Candidates are the predictions of all anchors in the cells whose centre lies inside the truth,
    and in those that hold the truth's own centre, so that no truth is too small to have one. The
    measure of a pair is t = s^α · u^β, with s the score of the truth's class, objectness times
    class, and u the IoU. Each truth takes the ``top`` largest above 0; a prediction taken by
    several truths goes to the one that it overlaps most.

    Args:
        alpha: exponent of the score.
        beta: exponent of the IoU.
        top: predictions of a truth.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 6.0, top: int = 13) -> None:
        self.alpha = alpha
        self.beta = beta
        self.top = top

    @torch.no_grad()
    def __call__(self, targets: Targets, grid: Grid, predict: Predict) -> Assignment:
        """Assign a batch's targets."""
        pairs = central_pairs(targets, grid)
        boxes_xyxy, logits = predict(pairs)
        overlap = iou(boxes_xyxy, targets.boxes_xyxy[pairs.target])
        own_class = 1 + targets.class_ids[pairs.target]
        score = logits[:, 0].sigmoid() * logits.gather(1, own_class[:, None])[:, 0].sigmoid()
        alignment = score**self.alpha * overlap**self.beta
        taken = (rank_within(-alignment, pairs.target) < self.top) & (alignment > 0)
        return least_of_each_prediction(pairs[taken], -overlap[taken], grid)


def central_pairs(targets: Targets, grid: Grid) -> Assignment:
    """Predictions whose cell has its centre inside the truth, or holds the truth's centre."""
    cx, cy, w, h = xyxy_to_cxcywh(targets.boxes_xyxy)[:, None].unbind(-1)  # (m, 1) each
    anchors = torch.arange(grid.anchors_wh.shape[1], device=cx.device)
    found = []
    for level, (stride, (rows, columns)) in enumerate(
        zip(grid.strides.tolist(), grid.sizes_hw.tolist(), strict=True)
    ):
        in_rows, at_row = _reached(cy, h, rows, stride)
        in_columns, at_column = _reached(cx, w, columns, stride)
        inside = in_rows[:, :, None] & in_columns[:, None]  # (m, rows, columns)
        home = at_row[:, :, None] & at_column[:, None]
        target, y, x = (inside | home).nonzero(as_tuple=True)
        prediction = grid.index(level, y, x, anchors[:, None])  # (anchors, k)
        found.append((target.expand_as(prediction).flatten(), prediction.flatten()))
    target, prediction = (torch.cat(part) for part in zip(*found, strict=True))
    return Assignment(targets.image_index[target], prediction, target)


def _reached(centre: Tensor, side: Tensor, cells: int, stride: int) -> tuple[Tensor, Tensor]:
    """Along one axis: whose centre lies inside the truth, and which hold the truth's centre.

    Args:
        centre: (m, 1) of the truths, pixels.
        side: (m, 1) of the truths, pixels.
        cells: of the map along that axis.
        stride: pixels.

    Returns:
        Two of (m, cells), bool.
    """
    middle = (torch.arange(cells, device=centre.device) + 0.5) * stride
    distance = (middle - centre).abs()
    return distance < side / 2, distance <= stride / 2
