"""Default boxes of a head: their sizes and places, for one size of input (SSD, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pydantic
import torch
from torch import Tensor

from detector.heads.anchors import default_boxes
from detector.heads.head import Head
from detector.registry import Positive
from detector.settings.nms import NmsSettings

MAX_UNCOVERED = 0.25
"""Allowed deviation of cells · step from the input's side, relative; SSD's own reaches 0.07."""

Pair = Annotated[Sequence[Positive], pydantic.Field(min_length=2, max_length=2)]


class DefaultBoxHead(Head):
    """Base class of heads with default boxes, whose raw outputs are (b, h, w, boxes, values).

    Args:
        nc: number of classes, without the background.
        sizes_wh: per level widths and heights of the default boxes, pixels.
        steps: per level the distance between the boxes' centres, pixels.
        clip: limit widths and heights of default boxes to the input's side.
        variances: factors of the offsets of centres and of those of sides.
        imgsz: side of the square input, pixels; the default boxes are made for this size only.
    """

    eval_nms = NmsSettings(
        confidence=0.01,
        iou=0.45,
        max_detections=200,
        class_candidates=400,
        candidates=10_000,
        multi_label=True,
    )
    """NMS settings of the papers for evaluating AP (SSD, section 3; RefineDet, section 3.4)."""

    def __init__(
        self,
        nc: int,
        sizes_wh: Sequence[Sequence[tuple[float, float]]],
        steps: Sequence[float],
        clip: bool,
        variances: Pair,
        imgsz: int,
    ) -> None:
        super().__init__()
        self.nc = nc
        self.steps = tuple(steps)
        self.size_hw = (imgsz, imgsz)
        self.variances = (variances[0], variances[1])
        self.sizes_wh = [torch.tensor(sizes, dtype=torch.float64) for sizes in sizes_wh]
        if clip:
            self.sizes_wh = [sizes.clamp(max=imgsz) for sizes in self.sizes_wh]

    def check_sizes(self, raw_outputs: Sequence[Tensor]) -> None:
        """Raise ValueError if a level's cells, times its step, do not cover the input."""
        side = self.size_hw[0]
        for level, (raw, step) in enumerate(zip(raw_outputs, self.steps, strict=True), 1):
            cells = raw.shape[2]
            if abs(cells * step / side - 1) > MAX_UNCOVERED:
                raise ValueError(
                    f"argument 'steps': level {level} has {cells} cells of {step:g} pixels, "
                    f"the input has {side} pixels"
                )

    def maps(self, raw_outputs: list[Tensor]) -> list[Tensor]:
        """Return (b, boxes · values, h, w) per level."""
        return [raw.flatten(3).permute(0, 3, 1, 2) for raw in raw_outputs]

    def default_boxes(self, raw_outputs: Sequence[Tensor]) -> Tensor:
        """Return (n, 4) boxes_xyxy, pixels, in the order of the raw outputs' predictions.

        They are computed in float64 and cast to the raw outputs' dtype.
        """
        levels = [
            default_boxes(sizes, (raw.shape[1], raw.shape[2]), step)
            for raw, sizes, step in zip(raw_outputs, self.sizes_wh, self.steps, strict=True)
        ]
        return torch.cat(levels).to(raw_outputs[0].device, raw_outputs[0].dtype)

    def decoding_keys(self) -> dict[str, Any]:
        """Return what decoding without torch needs to know of the default boxes."""
        return {
            "steps": self.steps,
            "sizes_wh": [sizes.tolist() for sizes in self.sizes_wh],
            "variances": self.variances,
            "size_hw": self.size_hw,
        }


def join_levels(raw_outputs: Sequence[Tensor]) -> Tensor:
    """Return the predictions of all levels, (b, n, values), from (b, h, w, boxes, values) each."""
    return torch.cat([level.flatten(1, 3) for level in raw_outputs], 1)


def check_levels(count: int, **levels: Sequence[Any]) -> None:
    """Raise ValueError about the first argument that has not one value for each of the levels."""
    for name, values in levels.items():
        if len(values) != count:
            raise ValueError(f"argument {name!r}: expected {count} levels, found {len(values)}")
