"""SSD's head (arXiv 1512.02325, section 2): default boxes, offsets from them, a softmax per box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import pydantic
import torch
from torch import Tensor, nn

from detector.heads.anchors import decode_offsets, default_boxes, default_sizes
from detector.heads.classes import ClassRows
from detector.heads.head import Head
from detector.registry import Positive, register
from detector.runtime.decoding.default_boxes import DefaultBoxDecoding
from detector.settings.nms import NmsSettings
from detector.structures.boxes import clip as clip_boxes

MAX_UNCOVERED = 0.25
"""Allowed deviation of cells · step from the input's side, relative; SSD's own reaches 0.07."""

Pair = Annotated[Sequence[Positive], pydantic.Field(min_length=2, max_length=2)]


@register(head=True)
class SSDHead(Head):
    """Head of two 3×3 convolutions per level, one for the offsets and one for the classes.

    ``forward`` returns raw outputs, one per level, of shape (b, h, w, boxes, 4 + 1 + classes); the
    last axis holds the offsets dx, dy, dw, dh, then the logits of the background and of each class.
    ``decode`` turns them into boxes and scores. Only the head and its loss know the background:
    class ids do not count it.

    Args:
        nc: number of classes, without the background.
        anchors: per level the side of its default boxes and that of the next level, pixels.
        ratios: per level the aspect ratios besides 1; a level has 2 + 2 · len(ratios) boxes.
        steps: per level the distance between the boxes' centres, pixels.
        clip: limit widths and heights of default boxes to the input's side, as torchvision and
            ssd.pytorch do.
        variances: factors of the offsets of centres and of those of sides.
        c_in: channels of each level.
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
    """NMS settings of the paper for evaluating AP (section 3)."""

    def __init__(
        self,
        nc: int,
        anchors: list[Pair],
        ratios: list[list[Positive]],
        steps: list[Positive],
        clip: bool = True,
        variances: Pair = (0.1, 0.2),
        c_in: Sequence[int] = (),
        imgsz: int = 300,
    ) -> None:
        super().__init__()
        for name, values in (("anchors", anchors), ("ratios", ratios), ("steps", steps)):
            if len(values) != len(c_in):
                raise ValueError(
                    f"argument {name!r}: expected {len(c_in)} levels, found {len(values)}"
                )
        self.nc = nc
        self.steps = tuple(steps)
        self.size_hw = (imgsz, imgsz)
        self.variances = (variances[0], variances[1])
        self.sizes_wh = [
            torch.tensor(default_sizes((side, next_side), level), dtype=torch.float64)
            for (side, next_side), level in zip(anchors, ratios, strict=True)
        ]
        if clip:
            self.sizes_wh = [sizes.clamp(max=imgsz) for sizes in self.sizes_wh]
        counts = [len(sizes) for sizes in self.sizes_wh]
        pairs = list(zip(c_in, counts, strict=True))
        self.offsets = nn.ModuleList(nn.Conv2d(c, 4 * k, 3, padding=1) for c, k in pairs)
        self.classes = nn.ModuleList(nn.Conv2d(c, (1 + nc) * k, 3, padding=1) for c, k in pairs)
        for conv in (*self.offsets, *self.classes):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return raw outputs (b, h, w, boxes, 4 + 1 + classes) for (b, c, h, w), per level."""
        raw_outputs = []
        for feature, offsets, classes in zip(features, self.offsets, self.classes, strict=True):
            parts = [
                conv(feature).permute(0, 2, 3, 1).unflatten(-1, (-1, width))
                for conv, width in ((offsets, 4), (classes, 1 + self.nc))
            ]
            raw_outputs.append(torch.cat(parts, -1))
        return raw_outputs

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

    def decode(self, raw_outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (b, n, 4) boxes_xyxy in pixels of the input and (b, n, classes) scores.

        Boxes are clipped to the input, so that IoU is computed from their visible parts.
        """
        raw = torch.cat([level.flatten(1, 3) for level in raw_outputs], 1)
        default_xyxy = self.default_boxes(raw_outputs)
        boxes_xyxy = decode_offsets(raw[..., :4], default_xyxy, self.variances)
        return clip_boxes(boxes_xyxy, self.size_hw), raw[..., 4:].softmax(-1)[..., 1:]

    def decoding(self) -> DefaultBoxDecoding:
        """Return how :meth:`maps` encode boxes and scores."""
        keys = {"steps": self.steps, "variances": self.variances, "size_hw": self.size_hw}
        sizes_wh = [sizes.tolist() for sizes in self.sizes_wh]
        return DefaultBoxDecoding.model_validate({**keys, "sizes_wh": sizes_wh})

    def maps(self, raw_outputs: list[Tensor]) -> list[Tensor]:
        """Return (b, boxes · (5 + classes), h, w) per level."""
        return [raw.flatten(3).permute(0, 3, 1, 2) for raw in raw_outputs]

    def class_rows(self, name: str) -> ClassRows | None:
        """Return the rows of the background and the classes of each default box."""
        convolution, _, level = name.rpartition(".")[0].partition(".")
        return ClassRows(len(self.sizes_wh[int(level)]), 1) if convolution == "classes" else None

    def default_boxes(self, raw_outputs: Sequence[Tensor]) -> Tensor:
        """Return (n, 4) boxes_xyxy, pixels, in the order of the raw outputs' predictions.

        They are computed in float64 and cast to the raw outputs' dtype.
        """
        levels = [
            default_boxes(sizes, (raw.shape[1], raw.shape[2]), step)
            for raw, sizes, step in zip(raw_outputs, self.sizes_wh, self.steps, strict=True)
        ]
        return torch.cat(levels).to(raw_outputs[0].device, raw_outputs[0].dtype)
