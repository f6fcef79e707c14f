"""Modules without weights: concatenation, and the few classes of ``torch.nn`` that files name."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detector.registry import Count, Positive, Size, register


@register(channels=lambda arguments, c_in: sum(c_in), joins=True)
class Concat(nn.Module):
    """Concatenate maps of one size along ``dim`` (1: channels)."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        if dim != 1:
            raise ValueError(f"maps are concatenated along their channels, dim 1, found {dim}")
        self.dim = dim

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(maps, self.dim)


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
    """torch.nn.Upsample with checked arguments; [None, 2, nearest] doubles the size."""

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
    """torch.nn.MaxPool2d with checked arguments."""

    def __init__(
        self,
        kernel_size: Count,
        stride: Count | None = None,
        padding: Size = 0,
        dilation: Count = 1,
        ceil_mode: bool = False,
    ) -> None:
        if padding > kernel_size // 2:
            raise ValueError(
                f"argument 'padding': expected at most half of the kernel, found {padding}"
            )
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)


register("nn.Identity")(nn.Identity)
