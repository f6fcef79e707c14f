"""Places of an image's predictions: the centres of the cells that predict."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_xy(height: int, width: int, like: Tensor) -> Tensor:
    """Return x and y of each cell's left top corner, (h, w, 2), in cells."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


class Points:
    """Places of the n predictions of an image, point after point.

    Args:
        xy: (p, 2) pixels of the network's input.
        strides: (p,) pixels, the side of each point's cell.
        per_point: predictions of each point, n = p · per_point; prediction i belongs to the point
            i // per_point.
    """

    def __init__(self, xy: Tensor, strides: Tensor, per_point: int = 1) -> None:
        if xy.shape != (len(strides), 2) or strides.ndim != 1:
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
    """Return the centres of all cells, level after level, row by row.

    Args:
        strides: of each level, pixels.
        sizes_hw: of each level, cells.
        like: gives device and type.

    Returns:
        (p, 2) and (p,) pixels: the centres, and the stride of each.

    >>> cell_centres([8], [(1, 2)], torch.zeros(0))
    (tensor([[ 4.,  4.],
            [12.,  4.]]), tensor([8., 8.]))
    """
    centres = [
        ((grid_xy(height, width, like) + 0.5) * stride).flatten(0, 1)
        for stride, (height, width) in zip(strides, sizes_hw, strict=True)
    ]
    sides = [
        like.new_full((len(level),), stride) for stride, level in zip(strides, centres, strict=True)
    ]
    return torch.cat(centres), torch.cat(sides)
