"""Convolutions with as many groups as both widths allow: depthwise, separable, mixed-kernel."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.checks import check_odd
from detector.layers.concat import concatenate
from detector.layers.conv import YOLO_EPS, YOLO_MOMENTUM, Conv, Conv2d
from detector.layers.shared_norm import Joined, fold_shared_norm
from detector.registry import Count, Odd, Width, register


@register()
class DWConv(Conv):
    """Conv of gcd(c_in, c_out) groups: depthwise (arXiv 1704.04861) where c_in = c_out."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        stride: Count = 1,
        dilation: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(
            c_in,
            c_out,
            kernel,
            stride,
            groups=math.gcd(c_in, c_out),
            dilation=dilation,
            activation=activation,
        )


@register()
class SeparableConv(nn.Module):
    """Depthwise Conv → 1×1 Conv, both with batch norm and activation (YOLOX's depthwise models)."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        self.depthwise = DWConv(c_in, c_in, kernel, stride, activation=activation)
        self.pointwise = Conv(c_in, c_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


def equal_shares(channels: int, parts: int) -> list[int]:
    """Split channels into nearly equal parts, and return the number of channels of each.

    Of c channels, channel j belongs to part ⌈j · parts / (c − 1)⌉ − 1, as in published weights.

    >>> equal_shares(8, 3)
    [3, 2, 3]
    """
    sizes = Counter(max(-(-j * parts // (channels - 1)) - 1, 0) for j in range(1, channels))
    sizes[0] += 1  # channel 0, for which the formula gives −1
    return [sizes[part] for part in range(parts)]


@register()
class MixConv2d(nn.Module):
    """Convolutions of several kernel sizes, concatenated (MixConv, arXiv 1907.09595).

    (b, c_in, h, w) → (b, c_out, h/s, w/s). Each convolution makes an equal share of c_out from all
    input channels, in gcd(c_in, share) groups; one batch norm and the activation follow the
    concatenation.

    Args:
        equal_channels: split c_out equally among the kernels; splitting the number of weights
            equally is not supported.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernels: Sequence[int] = (1, 3),
        stride: Count = 1,
        equal_channels: Literal[True] = True,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        check_odd(kernels)
        if c_out < len(kernels):
            raise ValueError(f"{c_out} channels are too few for {len(kernels)} kernels")
        self.m = nn.ModuleList(
            Conv2d(c_in, c, k, stride, k // 2, groups=math.gcd(c_in, c), bias=False)
            for k, c in zip(kernels, equal_shares(c_out, len(kernels)), strict=True)
        )
        self.bn = nn.BatchNorm2d(c_out, eps=YOLO_EPS, momentum=YOLO_MOMENTUM)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(concatenate([conv(x) for conv in self.m])))  # type: ignore[no-any-return]

    def fuse(self) -> Joined:
        """Return an equivalent block with the batch norm folded into the convolutions."""
        return Joined(fold_shared_norm(self.m, self.bn), self.act)  # type: ignore[arg-type]
