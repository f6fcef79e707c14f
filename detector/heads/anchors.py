"""Anchors: their places, encoding and decoding of boxes, and fitting of anchors to a data set.

YOLO's anchors are sizes that apply at each cell of a grid; SSD's default boxes have places too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.runtime.decoding.decoding import MAX_LOG_SIDE
from detector.structures.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from detector.structures.points import grid_xy
from detector.utils.errors import DetectorError


def decode_grid(raw: Tensor, cells_xy: Tensor, anchors_wh: Tensor, stride: int | Tensor) -> Tensor:
    """Decode raw x, y, w, h into boxes_xyxy in pixels; shapes broadcast.

    xy = (2σ − 0.5 + cell) · stride, wh = (2σ)² · anchor.

    Args:
        raw: (..., 4) logits.
        cells_xy: (..., 2) column and row of each box's cell.
        anchors_wh: (..., 2) anchor of each box, pixels.
        stride: pixels per cell, one number or (..., 1).

    Returns:
        (..., 4) boxes_xyxy, pixels.
    """
    sigmoid = raw.sigmoid() * 2
    centre = (sigmoid[..., :2] - 0.5 + cells_xy) * stride
    half = sigmoid[..., 2:].square() * (anchors_wh / 2)
    return torch.cat((centre - half, centre + half), -1)


def encode_grid(boxes_xyxy: Tensor, cells_xy: Tensor, anchors_wh: Tensor, stride: int) -> Tensor:
    """Return the logits that :func:`decode_grid` decodes into these boxes: the inverse.

    Args:
        boxes_xyxy: (n, 4) pixels, each centre within (−0.5, 1.5) cells of its cell, each side
            below 4 times its anchor's.
        cells_xy: (n, 2) column and row of each box's cell.
        anchors_wh: (n, 2) anchor of each box, pixels.
        stride: pixels per cell.

    Returns:
        (n, 4) logits of x, y, w, h.
    """
    left_top, right_bottom = boxes_xyxy.split(2, -1)
    centre = ((left_top + right_bottom) / 2 / stride - cells_xy + 0.5) / 2
    size = ((right_bottom - left_top) / anchors_wh).sqrt() / 2
    return torch.cat((centre, size), -1).logit()


def default_sizes(sides: tuple[float, float], ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Return widths and heights of one level's default boxes (SSD, arXiv 1512.02325, section 2.2).

    Args:
        sides: side s of the level and side s' of the next level, pixels.
        ratios: aspect ratios besides 1; the inverse of each is used too.

    Returns:
        s × s, √(s·s') × √(s·s'), then for each ratio r: s√r × s/√r and s/√r × s√r.

    >>> default_sizes((30, 60), [4])[2:]
    [(60.0, 15.0), (15.0, 60.0)]
    """
    side, next_side = sides
    between = math.sqrt(side * next_side)
    return [(float(side), float(side)), (between, between), *ratio_sizes(side, ratios)]


def ratio_sizes(side: float, ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Return s√r × s/√r and s/√r × s√r for each ratio r: boxes of the area s².

    >>> ratio_sizes(30, [4])
    [(60.0, 15.0), (15.0, 60.0)]
    """
    roots = [math.sqrt(ratio) for ratio in ratios]
    pairs = (((side * root, side / root), (side / root, side * root)) for root in roots)
    return [size for pair in pairs for size in pair]


def default_boxes(sizes_wh: Tensor, size_hw: tuple[int, int], step: float) -> Tensor:
    """Return one level's default boxes, centred on ((x + ½) · step, (y + ½) · step).

    Args:
        sizes_wh: (k, 2) widths and heights of the boxes, pixels.
        size_hw: height and width of the level, cells.
        step: distance between the centres of neighbouring cells, pixels.

    Returns:
        (h · w · k, 4) boxes_xyxy, pixels, ordered by row, column, box.
    """
    centres = (grid_xy(*size_hw, sizes_wh) + 0.5) * step
    k = len(sizes_wh)
    boxes_cxcywh = torch.cat(
        (centres[:, :, None].expand(-1, -1, k, -1), sizes_wh.expand(*size_hw, -1, -1)), -1
    )
    return cxcywh_to_xyxy(boxes_cxcywh.reshape(-1, 4))


def decode_offsets(offsets: Tensor, default_xyxy: Tensor, variances: tuple[float, float]) -> Tensor:
    """Decode offsets from default boxes into boxes_xyxy (SSD, section 2.2, after Faster R-CNN).

    For a default box of centre c and size s: centre = c + v₀ · offset · s and
    size = s · exp(v₁ · offset), with an exponent of at most ``MAX_LOG_SIDE``.

    Args:
        offsets: (..., 4) offsets of centre x, y and of sides w, h.
        default_xyxy: (..., 4) default boxes, pixels.
        variances: v₀ for centres and v₁ for sides.

    Returns:
        (..., 4) boxes_xyxy, pixels.
    """
    centre, size = xyxy_to_cxcywh(default_xyxy.to(offsets.dtype)).split(2, -1)
    moved = centre + variances[0] * offsets[..., :2] * size
    half = size / 2 * (variances[1] * offsets[..., 2:]).clamp(max=MAX_LOG_SIDE).exp()
    return torch.cat((moved - half, moved + half), -1)


def encode_offsets(
    boxes_xyxy: Tensor, default_xyxy: Tensor, variances: tuple[float, float]
) -> Tensor:
    """Return the offsets that :func:`decode_offsets` decodes into these boxes: the inverse.

    Args:
        boxes_xyxy: (..., 4) boxes of positive area, pixels.
        default_xyxy: (..., 4) default boxes of positive area, pixels.
        variances: v₀ for centres and v₁ for sides.

    Returns:
        (..., 4) offsets of centre x, y and of sides w, h.
    """
    centre, size = xyxy_to_cxcywh(boxes_xyxy).split(2, -1)
    default_centre, default_size = xyxy_to_cxcywh(default_xyxy).split(2, -1)
    moved = (centre - default_centre) / default_size / variances[0]
    return torch.cat((moved, (size / default_size).log() / variances[1]), -1)


def fit_anchors(sizes_wh: NDArray[np.float64], count: int, seed: int = 0) -> NDArray[np.float64]:
    """Fit anchors by k-means of box sizes, each side divided by its standard deviation.

    Args:
        sizes_wh: (n, 2) widths and heights of boxes, pixels of the network's input.
        count: number of anchors.
        seed: seed of the k-means initialization.

    Returns:
        (count, 2) widths and heights, pixels, sorted by area.

    Raises:
        DetectorError: the boxes have fewer different sizes than there are anchors.
    """
    from scipy.cluster.vq import kmeans2

    if len(np.unique(sizes_wh, axis=0)) < count:
        raise DetectorError(f"{count} anchors need as many boxes of different size")
    spread = np.maximum(sizes_wh.std(0), 1e-6)
    centres, _ = kmeans2(sizes_wh / spread, count, iter=50, minit="++", rng=seed)
    anchors_wh: NDArray[np.float64] = centres * spread
    return anchors_wh[np.argsort(anchors_wh.prod(1))]


MAX_EVOLUTION_BOXES = 10_000
"""Largest number of boxes that mutations are judged by; a random subset of more is used."""
GENERATIONS = 1000
"""Number of mutations that are tried."""
MUTATED_FRACTION, MUTATION = 0.9, 0.1
"""Fraction of the sides that a mutation changes, and standard deviation of the log factors."""


def evolve_anchors(
    sizes_wh: NDArray[np.float64], anchors_wh: NDArray[np.float64], ratio: float, seed: int = 0
) -> NDArray[np.float64]:
    """Improve anchors for matching by side ratio, by random mutations.

    K-means minimizes distances and ignores the matching. A mutation is kept if it raises the
    anchors' :func:`agreement` with the boxes.

    Args:
        sizes_wh: (n, 2) widths and heights of boxes, pixels of the network's input.
        anchors_wh: (k, 2) initial anchors, pixels.
        ratio: largest ratio of side lengths of a match.
        seed: seed of the mutations.

    Returns:
        (k, 2) widths and heights, pixels, sorted by area; their agreement with the boxes that
        mutations are judged by is not lower than at the start.
    """
    rng = np.random.default_rng(seed)
    boxes_wh = rng.permutation(sizes_wh)[:MAX_EVOLUTION_BOXES]
    best, reached = anchors_wh, agreement(boxes_wh, anchors_wh, ratio)
    for _ in range(GENERATIONS):
        changes = rng.normal(0, MUTATION, best.shape) * (rng.random(best.shape) < MUTATED_FRACTION)
        mutated = best * np.exp(changes * rng.random())
        found = agreement(boxes_wh, mutated, ratio)
        if found > reached:
            best, reached = mutated, found
    return best[np.argsort(best.prod(1))]


def agreement(
    sizes_wh: NDArray[np.float64], anchors_wh: NDArray[np.float64], ratio: float
) -> float:
    """Return the mean agreement of boxes with their best anchors (YOLOv5's anchor fitness).

    The agreement of a box and an anchor is min(w/w_a, w_a/w, h/h_a, h_a/h), or 0 where they do not
    match: where it is not above 1 / ``ratio``.

    Args:
        sizes_wh: (n, 2) widths and heights of boxes, pixels.
        anchors_wh: (k, 2) widths and heights of anchors, pixels.
        ratio: largest ratio of side lengths of a match.
    """
    quotient = sizes_wh[:, None] / anchors_wh[None]
    best = np.minimum(quotient, 1 / quotient).min(-1).max(1)
    return float(np.where(best > 1 / ratio, best, 0).mean())


def best_possible_recall(
    sizes_wh: NDArray[np.float64], anchors_wh: NDArray[np.float64], ratio: float
) -> float:
    """Return the fraction of boxes that an anchor matches within ``ratio`` on both sides."""
    quotient = sizes_wh[:, None] / anchors_wh[None]
    worst = np.maximum(quotient, 1 / quotient).max(-1)
    return float((worst.min(1) < ratio).mean())
