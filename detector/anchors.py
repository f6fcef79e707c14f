"""Grid anchors: where they lie, encode and decode side by side, and fitting them to boxes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.errors import DetectorError


def grid_xy(height: int, width: int, like: Tensor) -> Tensor:
    """(h, w, 2): x and y of each cell's left top corner, in cells."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def decode_grid(raw: Tensor, anchors_wh: Tensor, stride: int) -> Tensor:
    """Raw x, y, w, h of one level → boxes_xyxy in pixels.

    xy = (2σ − 0.5 + cell) · stride, wh = (2σ)² · anchor.

    Args:
        raw: (b, anchors, h, w, 4) logits.
        anchors_wh: (anchors, 2) pixels.
        stride: pixels per cell.

    Returns:
        (b, anchors, h, w, 4).
    """
    sigmoid = raw.sigmoid() * 2
    cells = grid_xy(raw.shape[2], raw.shape[3], raw)
    centre = (sigmoid[..., :2] - 0.5 + cells) * stride
    half = sigmoid[..., 2:].square() * (anchors_wh.to(raw.dtype)[:, None, None] / 2)
    return torch.cat((centre - half, centre + half), -1)


def encode_grid(boxes_xyxy: Tensor, cells_xy: Tensor, anchors_wh: Tensor, stride: int) -> Tensor:
    """The inverse: the logits of which :func:`decode_grid` gives these boxes.

    Args:
        boxes_xyxy: (n, 4) pixels, each centre within (−0.5, 1.5) cells of its cell, each side
            below 4 times its anchor's.
        cells_xy: (n, 2) cell of each box.
        anchors_wh: (n, 2) anchor of each box, pixels.
        stride: pixels per cell.

    Returns:
        (n, 4).
    """
    left_top, right_bottom = boxes_xyxy.split(2, -1)
    centre = ((left_top + right_bottom) / 2 / stride - cells_xy + 0.5) / 2
    size = ((right_bottom - left_top) / anchors_wh).sqrt() / 2
    return torch.cat((centre, size), -1).logit()


def fit_anchors(sizes_wh: NDArray[np.float64], count: int, seed: int = 0) -> NDArray[np.float64]:
    """k-means of box sizes, each side in units of its spread; anchors sorted by area.

    Args:
        sizes_wh: (n, 2) pixels of the network's input.
        count: number of anchors.
        seed: of the first guess.

    Returns:
        (count, 2).

    Raises:
        DetectorError: fewer boxes than anchors.
    """
    from scipy.cluster.vq import kmeans2

    if len(np.unique(sizes_wh, axis=0)) < count:
        raise DetectorError(f"{count} anchors need as many boxes of different size")
    spread = np.maximum(sizes_wh.std(0), 1e-6)
    centres, _ = kmeans2(sizes_wh / spread, count, iter=50, minit="++", rng=seed)
    anchors_wh: NDArray[np.float64] = centres * spread
    return anchors_wh[np.argsort(anchors_wh.prod(1))]


def best_possible_recall(
    sizes_wh: NDArray[np.float64], anchors_wh: NDArray[np.float64], ratio: float
) -> float:
    """Fraction of boxes that some anchor matches within the factor ``ratio`` on both sides."""
    quotient = sizes_wh[:, None] / anchors_wh[None]
    worst = np.maximum(quotient, 1 / quotient).max(-1)
    return float((worst.min(1) < ratio).mean())
