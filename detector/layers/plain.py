"""Classes of ``torch.nn`` that model files name, with checked arguments."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from torch import nn

from detector.layers.conv import YOLO_EPS, YOLO_MOMENTUM, Conv2d, check_groups
from detector.layers.fuse import depthwise_conv
from detector.registry import Count, Positive, Size, Width, register


def _upsample_stride(arguments: Mapping[str, Any]) -> Fraction:
    scale = arguments.get("scale_factor")
    if arguments.get("size") is not None or scale is None:
        raise ValueError(f"expected a 'scale_factor' and no 'size', found {dict(arguments)}")
    fraction = Fraction(scale).limit_denominator(64)
    if fraction == 0 or abs(fraction / Fraction(scale) - 1) > 1e-6:
        raise ValueError(f"argument 'scale_factor': expected a simple fraction, found {scale}")
    return 1 / fraction


@register("nn.Upsample", "Upsample", stride=_upsample_stride)
class Upsample(nn.Upsample):
    """``nn.Upsample`` with checked arguments; [None, 2, nearest] doubles the size."""

    def __init__(
        self,
        size: Count | None = None,
        scale_factor: Positive | None = None,
        mode: Literal["nearest", "nearest-exact", "bilinear", "bicubic"] = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode, align_corners)


@register("nn.MaxPool2d", "MaxPool2d", stride=lambda a: a.get("stride") or a["kernel_size"])
class MaxPool2d(nn.MaxPool2d):
    """``nn.MaxPool2d`` with checked arguments."""

    def __init__(
        self,
        kernel_size: Count,
        stride: Count | None = None,
        padding: Size = 0,
        dilation: Count = 1,
        ceil_mode: bool = False,
    ) -> None:
        _check_pool_padding(padding, kernel_size)
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)


@register("nn.AvgPool2d", "AvgPool2d", stride=lambda a: a.get("stride") or a["kernel_size"])
class AvgPool2d(nn.AvgPool2d):
    """``nn.AvgPool2d`` with checked arguments."""

    def __init__(
        self,
        kernel_size: Count,
        stride: Count | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        _check_pool_padding(padding, kernel_size)
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


def _check_pool_padding(padding: int, kernel: int) -> None:
    if padding > kernel // 2:
        raise ValueError(
            f"argument 'padding': expected at most half of the kernel, found {padding}"
        )


@register("nn.ZeroPad2d", stride=lambda arguments: 1)
class ZeroPad2d(nn.ZeroPad2d):
    """``nn.ZeroPad2d`` with padding [left, right, top, bottom] or one number, pixels.

    The output counts as having the input's stride: the next row removes the few pixels again.
    """

    def __init__(self, padding: int | list[int]) -> None:
        sides = [padding] * 4 if isinstance(padding, int) else padding
        if len(sides) != 4 or min(sides) < 0:
            raise ValueError(
                "argument 'padding': expected pixels or [left, right, top, bottom], "
                f"found {padding}"
            )
        left, right, top, bottom = sides
        super().__init__((left, right, top, bottom))


@register("nn.Conv2d")
class PlainConv2d(Conv2d):
    """``nn.Conv2d`` with checked arguments, and a bias."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel_size: Count,
        stride: Count = 1,
        padding: Size = 0,
        dilation: Count = 1,
        groups: Count = 1,
        bias: bool = True,
    ) -> None:
        check_groups(groups, c_in, c_out)
        super().__init__(c_in, c_out, kernel_size, stride, padding, dilation, groups, bias)


@register("nn.ConvTranspose2d", stride=lambda arguments: Fraction(1, arguments.get("stride", 1)))
class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with checked arguments; [c, 2, 2] and [c, 4, 2, 1] double the size."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel_size: Count,
        stride: Count = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: Count = 1,
        bias: bool = True,
        dilation: Count = 1,
    ) -> None:
        check_groups(groups, c_in, c_out)
        super().__init__(
            c_in, c_out, kernel_size, stride, padding, output_padding, groups, bias, dilation
        )


@register("nn.BatchNorm2d")
class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with YOLOv5's eps and momentum.

    Args:
        num_features: number of input channels, which published model files repeat; 0: not given.
    """

    def __init__(
        self,
        c_in: int,
        num_features: Width = 0,
        eps: Positive = YOLO_EPS,
        momentum: Positive = YOLO_MOMENTUM,
    ) -> None:
        if num_features not in (0, c_in):
            raise ValueError(f"argument 'num_features': expected {c_in}, found {num_features}")
        super().__init__(c_in, eps, momentum)

    def fuse(self) -> nn.Conv2d:
        """Return an equivalent depthwise 1×1 convolution."""
        return depthwise_conv(self)


register("nn.Identity")(nn.Identity)
