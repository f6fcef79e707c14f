"""Heads without objectness that predict the distances of a box's sides.

A distance is one number, or the mean of a distribution (arXiv 2006.04388).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from detector.heads.head import in_float32
from detector.heads.points import PointHead, fill_bias
from detector.layers.activation import Activation
from detector.layers.conv import Conv
from detector.layers.depthwise import DWConv
from detector.registry import ULTRALYTICS, Count, register
from detector.runtime.decoding.points import DistanceDecoding
from detector.settings.nms import NmsSettings

MIN_BOX_WIDTH = 16
"""Smallest number of hidden channels of the box branch."""


def expected_distances(raw: Tensor) -> Tensor:
    """Return the mean of each side's distribution: (..., 4 · bins) logits → (..., 4), in strides.

    A distance is Σ i · softmax(logits)ᵢ over its bins i = 0, 1, … (equation 3).
    """
    sides = raw.unflatten(-1, (4, -1)).softmax(-1)
    bins = torch.arange(sides.shape[-1], device=raw.device, dtype=raw.dtype)
    distances: Tensor = (sides * bins).sum(-1)
    return distances


class DistanceHead(PointHead):
    """Base class of heads without objectness whose boxes are distances from the points.

    The last axis of the raw outputs holds the distances from the point to left, top, right and
    bottom, ``bins`` logits each, then one logit per class.

    Args:
        nc: number of classes.
        bins: number of bins of each distance, 0 to bins − 1 strides; 0 for raw values that are the
            distances themselves, in strides.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    box_layers: nn.ModuleList
    """Last convolution of each level's boxes."""

    def __init__(self, nc: int, bins: int, c_in: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__(nc, c_in, strides)
        if bins == 1:
            raise ValueError("argument 'bins': expected at least 2 bins of a distribution, found 1")
        self.bins = bins
        self.box_values = 4 * max(bins, 1)

    def branches(self, level: int, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden features of one level's boxes and of its classes."""
        raise NotImplementedError

    def level_outputs(self, level: int, feature: Tensor) -> Tensor:
        """Return the raw outputs (b, box_values + classes, h, w) of one level."""
        of_boxes, of_classes = self.branches(level, feature)
        raw = (
            in_float32(self.box_layers[level], of_boxes),
            in_float32(self.class_layers[level], of_classes),
        )
        return torch.cat(raw, 1)

    def decoding(self) -> DistanceDecoding:
        """Return how :meth:`maps` encode boxes and scores."""
        return DistanceDecoding(strides=self.strides, bins=self.bins)

    def decode_boxes(self, raw: Tensor, xy: Tensor, strides: Tensor) -> Tensor:
        """Decode boxes from the distances to their sides; see :meth:`PointHead.decode_boxes`."""
        distances = expected_distances(raw) if self.bins else raw
        left_top, right_bottom = (distances * strides).split(2, -1)
        return torch.cat((xy - left_top, xy + right_bottom), -1)


@register(head=True)
class DFLHead(DistanceHead):
    """Decoupled head of YOLOv8 and later: a branch for the box, one for the classes.

    A branch has two 3×3 convs and a 1×1 convolution for each level.

    Args:
        nc: number of classes.
        bins: number of bins of each distance, 0 to bins − 1 strides.
        separable: each 3×3 conv of the classes is a depthwise conv and a 1×1 conv, as in YOLO11.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    eval_nms = NmsSettings(confidence=0.001, iou=0.7, max_detections=300, multi_label=True)
    """NMS settings customary for evaluating AP of these heads."""

    def __init__(
        self,
        nc: int,
        bins: Count = 16,
        separable: bool = False,
        activation: Activation = "SiLU",
        c_in: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__(nc, bins, c_in, strides)
        self.separable = separable
        self.activation = activation
        box_width, class_width = self.hidden_widths(c_in[0])
        self.box_convs = nn.ModuleList(self.box_branch(c, box_width) for c in c_in)
        self.class_convs = nn.ModuleList(self.class_branch(c, class_width) for c in c_in)
        self.box_layers = nn.ModuleList(self.box_layer(box_width) for _ in c_in)
        self.class_layers = nn.ModuleList(nn.Conv2d(class_width, nc, 1) for _ in c_in)
        self.initialize_biases()

    def hidden_widths(self, first: int) -> tuple[int, int]:
        """Return the hidden channels of the box and class branches; ``first`` level's channels."""
        return max(first // 4, 4 * self.bins, MIN_BOX_WIDTH), max(first, min(self.nc, 100))

    def box_branch(self, c_in: int, width: int) -> nn.Sequential:
        """Return the hidden convs of a level's boxes."""
        return nn.Sequential(self._conv(c_in, width), self._conv(width, width))

    def box_layer(self, width: int) -> nn.Conv2d:
        """Return the last convolution of a level's boxes."""
        return nn.Conv2d(width, self.box_values, 1)

    def class_branch(self, c_in: int, width: int) -> nn.Sequential:
        """Return the hidden convs of a level's classes."""
        if not self.separable:
            return nn.Sequential(self._conv(c_in, width), self._conv(width, width))
        layers: list[nn.Module] = []
        for c in (c_in, width):
            layers.append(
                nn.Sequential(
                    DWConv(c, c, 3, activation=self.activation),
                    Conv(c, width, 1, activation=self.activation),
                )
            )
        return nn.Sequential(*layers)

    def _conv(self, c_in: int, c_out: int, groups: int = 1) -> Conv:
        return Conv(c_in, c_out, 3, groups=groups, activation=self.activation)

    def initialize_biases(self) -> None:
        """Start boxes at equal logits of 1, classes at 5 objects in an image of 640 pixels."""
        for layer, stride in zip(self.class_layers, self.strides, strict=True):
            fill_bias(layer, math.log(5 / self.nc / (640 / stride) ** 2))
        for layer in self.box_layers:
            fill_bias(layer, 1.0)

    def branches(self, level: int, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden features of one level's boxes and of its classes."""
        return self.box_convs[level](feature), self.class_convs[level](feature)


def _separable_beside_c3k2(scale: str | None, modules: Collection[str]) -> dict[str, bool]:
    return {"separable": "C3k2" in modules}


register("Detect", head=True, dialect=ULTRALYTICS, implied=_separable_beside_c3k2)(DFLHead)


@register(head=True)
class GroupedDFLHead(DFLHead):
    """Head of MultimediaTechLab's YOLOv9: the box branch ends in convs of a group for each side."""

    SIDES = 4

    def hidden_widths(self, first: int) -> tuple[int, int]:
        """Return the hidden channels of the box and class branches; ``first`` level's channels."""
        quarter = -(-(first // 4) // self.SIDES) * self.SIDES
        of_boxes = max(quarter, self.SIDES * self.bins, MIN_BOX_WIDTH)
        return of_boxes, max(first, min(2 * self.nc, 128))

    def box_branch(self, c_in: int, width: int) -> nn.Sequential:
        """Return the hidden convs of a level's boxes, the second one in groups."""
        return nn.Sequential(self._conv(c_in, width), self._conv(width, width, self.SIDES))

    def box_layer(self, width: int) -> nn.Conv2d:
        """Return the last convolution of a level's boxes, in groups."""
        return nn.Conv2d(width, self.box_values, 1, groups=self.SIDES)

    def initialize_biases(self) -> None:
        """Start boxes at equal logits of 1, classes at −10."""
        for layer in self.class_layers:
            fill_bias(layer, -10.0)
        for layer in self.box_layers:
            fill_bias(layer, 1.0)
