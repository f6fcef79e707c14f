"""SSD's head (arXiv 1512.02325, section 2): default boxes, offsets from them, a softmax per box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.heads.anchors import decode_offsets, default_sizes
from detector.heads.classes import ClassRows
from detector.heads.default_boxes import DefaultBoxHead, Pair, check_levels, join_levels
from detector.registry import Positive, register
from detector.runtime.decoding.default_boxes import DefaultBoxDecoding
from detector.structures.boxes import clip as clip_boxes


@register(head=True)
class SSDHead(DefaultBoxHead):
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
        check_levels(len(c_in), anchors=anchors, ratios=ratios, steps=steps)
        sizes_wh = [
            default_sizes((side, next_side), level)
            for (side, next_side), level in zip(anchors, ratios, strict=True)
        ]
        super().__init__(nc, sizes_wh, steps, clip, variances, imgsz)
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

    def decode(self, raw_outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (b, n, 4) boxes_xyxy in pixels of the input and (b, n, classes) scores.

        Boxes are clipped to the input, so that IoU is computed from their visible parts.
        """
        raw = join_levels(raw_outputs)
        default_xyxy = self.default_boxes(raw_outputs)
        boxes_xyxy = decode_offsets(raw[..., :4], default_xyxy, self.variances)
        return clip_boxes(boxes_xyxy, self.size_hw), raw[..., 4:].softmax(-1)[..., 1:]

    def decoding(self) -> DefaultBoxDecoding:
        """Return how :meth:`maps` encode boxes and scores."""
        return DefaultBoxDecoding.model_validate(self.decoding_keys())

    def class_rows(self, name: str) -> ClassRows | None:
        """Return the rows of the background and the classes of each default box."""
        convolution, _, level = name.rpartition(".")[0].partition(".")
        return ClassRows(len(self.sizes_wh[int(level)]), 1) if convolution == "classes" else None
