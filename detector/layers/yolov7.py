"""YOLOv7's blocks (arXiv 2207.02696): pools, downsampling, the re-parameterized convolution."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.checks import even_half
from detector.layers.concat import concatenate
from detector.layers.conv import YOLO_EPS, YOLO_MOMENTUM, Conv
from detector.layers.repvgg import RepVGGBlock
from detector.registry import Count, Odd, Size, Width, register


@register(stride=lambda arguments: arguments.get("kernel", 2))
class MP(nn.MaxPool2d):
    """k×k max-pool of stride k. (b, c, h, w) → (b, c, h/k, w/k)."""

    def __init__(self, kernel: Count = 2) -> None:
        super().__init__(kernel, kernel)


@register()
class SP(nn.MaxPool2d):
    """k×k max-pool with padding, which keeps the size at stride 1."""

    def __init__(self, kernel: Odd = 3, stride: Count = 1) -> None:
        super().__init__(kernel, stride, kernel // 2)


@register(stride=lambda arguments: arguments.get("stride", 2))
class DownC(nn.Module):
    """1×1 conv → 3×3 conv of the stride beside max-pool of it → 1×1 conv; concat.

    (b, c, h, w) → (b, c_out, h/s, w/s); each path makes half of c_out.
    """

    def __init__(
        self, c_in: int, c_out: Width, stride: Count = 2, activation: Activation = "SiLU"
    ) -> None:
        super().__init__()
        half = even_half("c_out", c_out)
        self.cv1 = Conv(c_in, c_in, 1, activation=activation)
        self.cv2 = Conv(c_in, half, 3, stride, activation=activation)
        self.cv3 = Conv(c_in, half, 1, activation=activation)
        self.mp = MP(stride)

    def forward(self, x: Tensor) -> Tensor:
        return concatenate((self.cv2(self.cv1(x)), self.cv3(self.mp(x))))


@register(joins=True)
class Shortcut(nn.Module):
    """Sum of features of one shape.

    Args:
        dim: accepted for published model files, which write 1, and ignored.
    """

    def __init__(self, c_in: list[int], dim: Literal[0, 1] = 0) -> None:
        super().__init__()
        if len(set(c_in)) > 1:
            raise ValueError(f"adds features of one number of channels, found {c_in}")

    def forward(self, features: list[Tensor]) -> Tensor:
        return functools.reduce(torch.add, features)


@register()
class RepConv(RepVGGBlock):
    """RepVGG's block (:class:`RepVGGBlock`) with YOLO's batch-norm settings.

    Args:
        identity: include the identity branch where it is possible; YOLOv9 does not.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        padding: Size | None = None,
        groups: Count = 1,
        activation: Activation = "SiLU",
        identity: bool = True,
    ) -> None:
        super().__init__(
            c_in,
            c_out,
            kernel,
            stride,
            padding,
            groups=groups,
            activation=activation,
            identity=identity,
            eps=YOLO_EPS,
            momentum=YOLO_MOMENTUM,
        )
