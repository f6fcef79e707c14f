"""YOLOX's decoupled head (arXiv 2107.08430, section 2.1): objectness, no anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.heads.head import in_float32
from detector.heads.points import PRIOR_LOGIT, PointHead, fill_bias
from detector.layers.activation import Activation
from detector.layers.conv import Conv
from detector.layers.depthwise import SeparableConv
from detector.registry import Count, Width, register
from detector.runtime.decoding.decoding import MAX_LOG_SIDE
from detector.runtime.decoding.points import CentreDecoding
from detector.settings.nms import NmsSettings


@register(head=True)
class YOLOXHead(PointHead):
    """Decoupled head with objectness: a branch for the classes, one for box and objectness.

    For each level a 1×1 conv, then 3×3 convs in each branch, then 1×1 convolutions. The last axis
    of the raw outputs holds x, y, w, h, objectness, then one logit per class.

    Args:
        nc: number of classes.
        width: channels of the hidden convs.
        convs: number of 3×3 convs of each branch.
        separable: the 3×3 convs are depthwise and pointwise ones, as in YOLOX-nano.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    eval_nms = NmsSettings(confidence=0.01, iou=0.65, max_detections=1000, clip_boxes=False)
    """NMS settings of the authors for evaluating AP: the best class of each box."""

    def __init__(
        self,
        nc: int,
        width: Width = 256,
        convs: Count = 2,
        separable: bool = False,
        activation: Activation = "SiLU",
        c_in: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__(nc, c_in, strides)

        def branch() -> nn.Sequential:
            kind = SeparableConv if separable else Conv
            return nn.Sequential(
                *(kind(width, width, 3, activation=activation) for _ in range(convs))
            )

        def last(c_out: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(width, c_out, 1) for _ in c_in)

        self.stems = nn.ModuleList(Conv(c, width, 1, activation=activation) for c in c_in)
        self.class_convs = nn.ModuleList(branch() for _ in c_in)
        self.box_convs = nn.ModuleList(branch() for _ in c_in)
        self.class_layers, self.box_layers, self.objectness_layers = last(nc), last(4), last(1)
        for layer in (*self.class_layers, *self.objectness_layers):
            fill_bias(layer, PRIOR_LOGIT)

    def level_outputs(self, level: int, feature: Tensor) -> Tensor:
        """Return the raw outputs (b, 4 + 1 + classes, h, w) of one level."""
        hidden = self.stems[level](feature)
        of_boxes = self.box_convs[level](hidden)
        of_classes = self.class_convs[level](hidden)
        raw = (
            in_float32(self.box_layers[level], of_boxes),
            in_float32(self.objectness_layers[level], of_boxes),
            in_float32(self.class_layers[level], of_classes),
        )
        return torch.cat(raw, 1)

    def decoding(self) -> CentreDecoding:
        """Return how :meth:`maps` encode boxes and scores."""
        return CentreDecoding(strides=self.strides)

    def decode_boxes(self, raw: Tensor, xy: Tensor, strides: Tensor) -> Tensor:
        """Decode boxes: centre = (xy + the cell's corner) · stride, sides = exp(wh) · stride.

        See :meth:`PointHead.decode_boxes`.
        """
        centre = raw[..., :2] * strides + (xy - strides / 2)
        half = raw[..., 2:].clamp(max=MAX_LOG_SIDE).exp() * (strides / 2)
        return torch.cat((centre - half, centre + half), -1)

    def decode_scores(self, logits: Tensor) -> Tensor:
        """Decode logits of objectness and classes: (..., 1 + classes) → (..., classes) scores."""
        probabilities = logits.sigmoid()
        return probabilities[..., 1:] * probabilities[..., :1]
