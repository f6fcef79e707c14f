"""Random targets and predictions on a grid of two levels with two anchors each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detector.assigners import AnchorGrid, Assignment, DecodedPredictions
from detector.heads.anchors import decode_grid
from detector.structures.samples import Targets

ANCHORS_WH = torch.tensor([[[8.0, 8.0], [12.0, 20.0]], [[30.0, 24.0], [40.0, 50.0]]])
STRIDES = [8, 16]
SIZES_HW = [(8, 10), (4, 5)]
"""Sizes of the levels of an image of 64×80 pixels."""
CLASSES = 3
GRID = AnchorGrid(ANCHORS_WH.double(), STRIDES, SIZES_HW)


def random_targets(count: int, seed: int = 0, images: int = 3, different: int = 1000) -> Targets:
    """Return boxes in 64×80 pixels, float64; if few are different, some occur several times."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator).double() * torch.tensor([80.0, 64.0])
    halves = torch.rand(count, 2, generator=generator).double() * 20 + 1
    boxes_xyxy = torch.cat((centres - halves, centres + halves), 1)
    class_ids = torch.randint(0, CLASSES, (count,), generator=generator)
    image_index = torch.randint(0, images, (count,), generator=generator)
    same = torch.arange(count) % different
    return Targets(boxes_xyxy[same], class_ids[same], image_index[same])


def random_raw(seed: int = 0, images: int = 3, coarse: bool = False) -> Tensor:
    """Return (images, n, 5 + classes) raw values in float64; coarse ones make ties."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(images, len(GRID), 5 + CLASSES, generator=generator).double()
    return raw.round() if coarse else raw


def decoded(raw: Tensor) -> DecodedPredictions:
    """Return boxes and scores of raw values, as an anchor-based head decodes them."""
    level, y, x, anchor = GRID.locate(torch.arange(len(GRID)))
    cells_xy, strides = torch.stack((x, y), 1), GRID.level_strides[level, None]
    boxes_xyxy = decode_grid(raw[..., :4], cells_xy, GRID.anchors_wh[level, anchor], strides)
    return DecodedPredictions(boxes_xyxy, raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid())


def as_set(pairs: Assignment) -> set[tuple[int, int, int]]:
    """Return (image, prediction, target) of each pair, after checking that none occurs twice."""
    fields = (pairs.image.tolist(), pairs.prediction.tolist(), pairs.target.tolist())
    found = list(zip(*fields, strict=True))
    assert len(set(found)) == len(found)
    return set(found)


def slow_iou(a: list[float], b: list[float]) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return w * h / (area_a + area_b - w * h)


def slow_box(raw: Tensor, image: int, prediction: int) -> list[float]:
    """Decode one prediction as YOLOv5 does, value by value."""
    level, y, x, anchor = place_of(prediction)
    tx, ty, tw, th = (2 * v for v in raw[image, prediction, :4].sigmoid().tolist())
    cx, cy = (tx - 0.5 + x) * STRIDES[level], (ty - 0.5 + y) * STRIDES[level]
    w, h = (side * a for side, a in zip((tw**2, th**2), ANCHORS_WH[level, anchor], strict=True))
    return [float(v) for v in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)]


def place_of(prediction: int) -> tuple[int, int, int, int]:
    """Return level, row, column and anchor of a prediction, by counting."""
    return all_places()[prediction]


def all_places() -> list[tuple[int, int, int, int]]:
    return [
        (level, y, x, anchor)
        for level, (height, width) in enumerate(SIZES_HW)
        for y in range(height)
        for x in range(width)
        for anchor in range(ANCHORS_WH.shape[1])
    ]


def cheapest_target(pairs: dict[tuple[int, int, int], Any]) -> set[tuple[int, int, int]]:
    """Keep for each prediction the pair with the smallest value; the first one of a tie."""
    best: dict[tuple[int, int], tuple[Any, int]] = {}
    for (image, prediction, target), value in pairs.items():
        key = (image, prediction)
        best[key] = min(best.get(key, (value, target)), (value, target))
    return {(*key, target) for key, (_, target) in best.items()}
