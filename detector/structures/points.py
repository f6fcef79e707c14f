"""Points of an image's predictions: the centers of the feature-map cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_xy(height: int, width: int, like: Tensor) -> Tensor:
    """Return x and y of each cell's top left corner, (h, w, 2), in cells, as dtype of ``like``."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


class Points:
    """Points that an image's n predictions belong to, in the order of the predictions.

    Args:
        xy: (p, 2) pixels of the network's input.
        strides: (p,) pixels, the side of each point's cell.
        per_point: predictions per point: n = p · per_point, and prediction i belongs to point
            i // per_point.
    """

    def __init__(self, xy: Tensor, strides: Tensor, per_point: int = 1) -> None:
        if strides.ndim != 1 or xy.shape != (strides.shape[0], 2):
            raise ValueError(
                f"expected points (p, 2) and strides (p,); found {tuple(xy.shape)}, "
                f"{tuple(strides.shape)}"
            )
        self.xy = xy
        self.strides = strides
        self.per_point = per_point

    def __len__(self) -> int:
        return len(self.xy) * self.per_point


def cell_centres(
    strides: Sequence[int], sizes_hw: Sequence[tuple[int, int]], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the centres of all cells, level by level, row by row.

    Args:
        strides: stride of each level, pixels.
        sizes_hw: height and width of each level, cells.
        like: tensor that gives device and dtype.

    Returns:
        (p, 2) centres and (p,) strides, pixels.

    >>> cell_centres([8], [(1, 2)], torch.zeros(0))
    (tensor([[ 4.,  4.],
            [12.,  4.]]), tensor([8., 8.]))
    """
    centres = [
        ((grid_xy(height, width, like) + 0.5) * stride).flatten(0, 1)
        for stride, (height, width) in zip(strides, sizes_hw, strict=True)
    ]
    sides = [
        torch.full_like(level[:, 0], stride)  # len() would fix the number when it is traced
        for stride, level in zip(strides, centres, strict=True)
    ]
    return torch.cat(centres), torch.cat(sides)
