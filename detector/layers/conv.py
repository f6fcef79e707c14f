"""Convolution, batch norm and activation: the basic block that most others are made of."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.fuse import fold_batch_norm, plain_conv
from detector.registry import Count, Positive, Size, Width, register

YOLO_EPS, YOLO_MOMENTUM = 1e-3, 0.03
"""Batch-norm settings of YOLOv5; torch's defaults are 1e-5 and 0.1."""


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Return the padding that keeps the size at stride 1, for an odd kernel."""
    return dilation * (kernel - 1) // 2


def check_groups(groups: int, c_in: int, c_out: int) -> None:
    """Raise ValueError unless ``groups`` divides ``c_in`` and ``c_out``."""
    if c_in % groups or c_out % groups:
        raise ValueError(f"argument 'groups': {groups} does not divide {c_in} → {c_out} channels")


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` that subsamples the input itself for a strided 1×1 convolution.

    It computes the same. oneDNN's backward pass of a strided 1×1 convolution writes past its buffer
    where the input is channels-last and has fewer than 16 channels, as in RepVGG's first block
    (oneDNN issue 6035, in torch up to 2.14).
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size == (1, 1) and self.stride != (1, 1) and self.padding == (0, 0):
            return F.conv2d(self._subsampled(x), self.weight, self.bias, groups=self.groups)
        return super().forward(x)

    def _subsampled(self, x: Tensor) -> Tensor:
        """Return every stride-th pixel: by a slice, or by a pool whose gradient is channels-last.

        A slice's gradient is not, and makes the backward pass of the batch norms before it take
        four times as long on CPUs.
        """
        if x.requires_grad:
            return F.avg_pool2d(x, 1, self.stride)
        return x[..., :: self.stride[0], :: self.stride[1]]


class SameConv2d(Conv2d):
    """Convolution with TensorFlow's "same" padding: the output has ⌈side / stride⌉ pixels.

    The padding is split into two halves, the smaller one first: with a 3×3 kernel and stride 2 an
    even side is padded by (0, 1), where torch's padding of 1 is (1, 1).
    """

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self._pads(x.shape[-2], axis=0)
        left, right = self._pads(x.shape[-1], axis=1)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def offset(self, axis: int) -> int:
        """Return the padding before the first pixel, for a side that the stride divides."""
        return self._pads(self.stride[axis], axis)[0]

    def _pads(self, side: int, axis: int) -> tuple[int, int]:
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        total = max(reach - (side % self.stride[axis] or self.stride[axis]), 0)
        return total // 2, total - total // 2


PaddingMode = Literal["zeros", "reflect", "replicate", "circular", "same"]
"""Padding modes: torch's, and TensorFlow's "same"."""


def make_conv(
    c_in: int,
    c_out: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    bias: bool,
    padding_mode: PaddingMode,
) -> Conv2d:
    """Return a convolution of any padding mode; ``padding`` is ignored in the mode ``same``."""
    if padding_mode == "same":
        return SameConv2d(c_in, c_out, kernel, stride, 0, dilation, groups, bias)
    return Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias, padding_mode)


@register()
class Conv(nn.Module):
    """Conv2d without bias → BatchNorm2d → activation. (b, c_in, h, w) → (b, c_out, h/s, w/s).

    Args:
        padding: padding in pixels; ``None`` keeps the size at stride 1, for odd kernels.
        activation: name of an activation, ``True`` for SiLU, ``False`` for none.
        eps: value added to the variance by the batch norm.
        momentum: momentum of the batch norm's running statistics.
        padding_mode: one of torch's modes, or ``same`` for TensorFlow's (:class:`SameConv2d`).
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        stride: Count = 1,
        padding: Size | None = None,
        groups: Count = 1,
        dilation: Count = 1,
        activation: Activation = "SiLU",
        eps: Positive = YOLO_EPS,
        momentum: Positive = YOLO_MOMENTUM,
        padding_mode: PaddingMode = "zeros",
    ) -> None:
        super().__init__()
        check_groups(groups, c_in, c_out)
        if padding is None:
            padding = same_padding(kernel, dilation)
        self.conv = make_conv(
            c_in, c_out, kernel, stride, padding, dilation, groups, False, padding_mode
        )
        self.bn = nn.BatchNorm2d(c_out, eps=eps, momentum=momentum)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))  # type: ignore[no-any-return]

    def fuse(self) -> FusedConv:
        """Return an equivalent block with the batch norm folded into the convolution."""
        return FusedConv(plain_conv(self.conv, fold_batch_norm(self.conv, self.bn)), self.act)


class FusedConv(nn.Module):
    """Fused form of a block: Conv2d with bias → channel attention, if any → activation.

    With ``se_last`` the attention comes after the activation.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        act: nn.Module,
        se: nn.Module | None = None,
        se_last: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.se = se or nn.Identity()
        self.act = act
        self.se_last = se_last

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        return self.se(self.act(out)) if self.se_last else self.act(self.se(out))  # type: ignore[no-any-return]
