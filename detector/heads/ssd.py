"""SSD's head (arXiv 1512.02325, section 2): default boxes, their offsets, one softmax a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import pydantic
import torch
from torch import Tensor, nn

from detector.heads.anchors import decode_offsets, default_boxes, default_sizes
from detector.heads.head import Head
from detector.registry import Positive, register
from detector.settings import NmsSettings
from detector.structures.boxes import clip as clip_boxes

MAX_UNCOVERED = 0.25
"""Part of the input's side by which a level's cells may miss it; SSD's own do by up to 0.07."""

Pair = Annotated[Sequence[Positive], pydantic.Field(min_length=2, max_length=2)]


@register(head=True)
class SSDHead(Head):
    """Two 3×3 convolutions per level, one for the offsets and one for the classes.

    ``forward`` gives raw outputs, one per level, of shape (b, h, w, boxes, 4 + 1 + classes); the
    last axis is the offsets dx, dy, dw, dh, then the logits of the background and of each class.
    ``decode`` makes boxes of them. The background exists in here alone: its logit is the first,
    and no class number outside counts it.

    Args:
        nc: number of classes, without the background.
        anchors: per level the side of its default boxes and that of the next level, pixels.
        ratios: per level the aspect ratios beside 1; a level has 2 + 2 · len(ratios) boxes.
        steps: per level the distance of the boxes' centres, pixels.
        clip: make no default box wider or higher than the input, as torchvision and ssd.pytorch do.
        variances: of the offsets of centres and of sides.
        c_in: channels of each level.
        imgsz: side of the square input, pixels; the default boxes are meant for it alone.
    """

    eval_nms = NmsSettings(
        confidence=0.01,
        iou=0.45,
        max_detections=200,
        class_candidates=400,
        candidates=10_000,
        multi_label=True,
    )
    """The paper's thresholds for measuring AP (section 3)."""

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
        """(b, c, h, w) per level → raw outputs (b, h, w, boxes, 4 + 1 + classes) per level."""
        raw_outputs = []
        for feature, offsets, classes in zip(features, self.offsets, self.classes, strict=True):
            parts = [
                conv(feature).permute(0, 2, 3, 1).unflatten(-1, (-1, width))
                for conv, width in ((offsets, 4), (classes, 1 + self.nc))
            ]
            raw_outputs.append(torch.cat(parts, -1))
        return raw_outputs

    def check_sizes(self, raw_outputs: Sequence[Tensor]) -> None:
        """Raise ValueError where a level's cells do not cover the input as its step says."""
        side = self.size_hw[0]
        for level, (raw, step) in enumerate(zip(raw_outputs, self.steps, strict=True), 1):
            cells = raw.shape[2]
            if abs(cells * step / side - 1) > MAX_UNCOVERED:
                raise ValueError(
                    f"argument 'steps': level {level} has {cells} cells of {step:g} pixels, "
                    f"the input has {side} pixels"
                )

    def decode(self, raw_outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Raw outputs → (b, n, 4) boxes_xyxy in pixels of the input, (b, n, classes) scores.

        Boxes are cut off at the input's border, so that their overlaps are those of what is seen.
        """
        raw = torch.cat([level.flatten(1, 3) for level in raw_outputs], 1)
        default_xyxy = self.default_boxes(raw_outputs)
        boxes_xyxy = decode_offsets(raw[..., :4], default_xyxy, self.variances)
        return clip_boxes(boxes_xyxy, self.size_hw), raw[..., 4:].softmax(-1)[..., 1:]

    def default_boxes(self, raw_outputs: Sequence[Tensor]) -> Tensor:
        """Return (n, 4) boxes_xyxy, pixels, in the order of the raw outputs' predictions.

        They are computed in float64 and cast to the raw outputs' type.
        """
        levels = [
            default_boxes(sizes, (raw.shape[1], raw.shape[2]), step)
            for raw, sizes, step in zip(raw_outputs, self.sizes_wh, self.steps, strict=True)
        ]
        return torch.cat(levels).to(raw_outputs[0].device, raw_outputs[0].dtype)
