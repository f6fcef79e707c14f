"""YOLOv5's assignment by ratios of side lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.assigners.assigner import Predictions
from detector.assigners.assignment import Assignment
from detector.assigners.grid import AnchorGrid
from detector.structures.boxes import xyxy_to_cxcywh
from detector.structures.samples import Targets


class RatioAssigner:
    """Assigner of each target to all anchors of similar size, in the cells nearest to its centre.

    A target matches an anchor if max(w/w_a, w_a/w, h/h_a, h_a/h) < ``ratio``. It is assigned in the
    cell that contains its centre and in the nearest horizontal and the nearest vertical neighbour
    of this cell, if they lie inside the level. A prediction may have several targets.

    Args:
        ratio: largest ratio of side lengths, exclusive.
    """

    def __init__(self, ratio: float = 4.0) -> None:
        self.ratio = ratio

    def __call__(
        self, targets: Targets, grid: AnchorGrid, predictions: Predictions | None = None
    ) -> Assignment:
        """Assign a batch's targets; see :class:`detector.assigners.assigner.Assigner`.

        Predictions are ignored, so that this assigner is a candidate rule too.
        """
        boxes_cxcywh = xyxy_to_cxcywh(targets.boxes_xyxy.to(grid.anchors_wh.dtype))
        ratio = boxes_cxcywh[:, 2:] / grid.anchors_wh[:, :, None]  # (levels, anchors, m, 2)
        fits = torch.maximum(ratio, 1 / ratio).amax(-1) < self.ratio
        level, anchor, target = fits.nonzero(as_tuple=True)
        centre_xy = boxes_cxcywh[target, :2] / grid.level_strides[level, None]
        x, y, source = _nearest_cells(centre_xy, grid.sizes_hw[level])
        target = target[source]
        prediction = grid.index(level[source], y, x, anchor[source])
        return Assignment(targets.image_index[target], prediction, target)


def _nearest_cells(centre_xy: Tensor, sizes_hw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns and rows of the up to three cells of each centre, and the centre's index.

    Args:
        centre_xy: (k, 2) centres of targets, in cells.
        sizes_hw: (k, 2) height and width of each centre's level, cells.
    """
    limit = (sizes_hw.flip(-1) - 1).to(centre_xy.dtype)
    home = torch.minimum(centre_xy.floor(), limit)
    # A centre in the first half of its cell is nearest to the previous cell, else to the next one.
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
    x, y = cells[inside].long().unbind(-1)
    return x, y, source
