"""Attention of channels and places under the names that model files use, each from its paper.

In published files these rows may repeat the number of input channels as their first argument.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.concat import concatenate
from detector.layers.conv import same_padding
from detector.layers.se import SEBlock
from detector.layers.vgg import ConvNormAct
from detector.registry import Count, Odd, Positive, Width, register


def _check_channels(c_in: int, channels: int) -> None:
    """Raise ValueError unless ``channels`` is 0 (not given) or the number of input channels."""
    if channels not in (0, c_in):
        raise ValueError(f"argument 'channels': expected {c_in}, found {channels}")


@register("SE", "SEAttention")
class SE(SEBlock):
    """Squeeze-and-excitation (arXiv 1709.01507), see :class:`SEBlock`.

    Args:
        channels: number of input channels, which published model files repeat; 0: not given.
        ratio: factor by which the channels are reduced.
    """

    def __init__(self, c_in: int, channels: Width = 0, ratio: Count = 16) -> None:
        _check_channels(c_in, channels)
        super().__init__(c_in, ratio)


@register("ECA", "ECAAttention")
class ECA(nn.Module):
    """Global average → convolution along the channels → sigmoid → scale (ECA, arXiv 1910.03151).

    Args:
        channels: number of input channels, which published model files repeat; 0: not given.
        kernel: number of neighbouring channels; by default the whole part of (log₂ c + 1) / 2, or
            the next number if that is even (section 3.2.3).
    """

    def __init__(self, c_in: int, channels: Width = 0, kernel: Odd | None = None) -> None:
        super().__init__()
        _check_channels(c_in, channels)
        if kernel is None:
            kernel = int((math.log2(c_in) + 1) / 2) | 1
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean((2, 3)).unsqueeze(1)
        return x * F.sigmoid(self.conv(squeezed)).transpose(1, 2).unsqueeze(3)


@register("SimAM", "SimAm")
class SimAM(nn.Module):
    """Each value scaled by how far it stands out from its channel, without parameters.

    SimAM (Yang et al., ICML 2021, equation 5): x · σ((x − μ)² / (4 · (v + λ)) + ½), where μ and v
    are the mean and the variance of the channel in one image, with h · w − 1 in its divisor.

    Args:
        regularization: λ.
    """

    def __init__(self, regularization: Positive = 1e-4) -> None:
        super().__init__()
        self.regularization = regularization

    def forward(self, x: Tensor) -> Tensor:
        squares = (x - x.mean((2, 3), keepdim=True)).square()
        others = max(x.shape[2] * x.shape[3] - 1, 1)
        variance = squares.sum((2, 3), keepdim=True) / others
        return x * F.sigmoid(squares / (4 * (variance + self.regularization)) + 0.5)


@register()
class CBAM(nn.Module):
    """Attention of channels, then of places (CBAM, arXiv 1807.06521). (b, c, h, w), as the input.

    Channels: σ of the sum of one perceptron (c → c/ratio → c) of their averages and of their
    maxima. Places: σ of a k×k convolution of the mean and the maximum over the channels.

    Args:
        channels: number of input channels, which published model files repeat; 0: not given.
        kernel: side of the convolution.
        ratio: factor by which the perceptron reduces the channels.
    """

    def __init__(self, c_in: int, channels: Width = 0, kernel: Odd = 7, ratio: Count = 16) -> None:
        super().__init__()
        _check_channels(c_in, channels)
        hidden = max(c_in // ratio, 1)
        self.down = nn.Conv2d(c_in, hidden, 1, bias=False)
        self.up = nn.Conv2d(hidden, c_in, 1, bias=False)
        self.places = nn.Conv2d(2, 1, kernel, padding=same_padding(kernel), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = (x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))
        x = x * F.sigmoid(sum(self.up(F.relu(self.down(one))) for one in squeezed))
        planes = concatenate((x.mean(1, keepdim=True), x.amax(1, keepdim=True)))
        return x * F.sigmoid(self.places(planes))


MIN_COORDINATE_WIDTH = 8
"""Smallest width inside coordinate attention."""


@register("CoordAtt", "CoordAttention")
class CoordAtt(nn.Module):
    """Coordinate attention (arXiv 2103.02907): a factor per row, and one per column, of a channel.

    Averages of rows and of columns, side by side → 1×1 conv to c/ratio → batch norm → hard swish;
    each part → 1×1 conv → σ.

    Args:
        channels: number of input channels, which published model files repeat; 0: not given.
        ratio: factor by which the channels are reduced, to 8 at least.
    """

    def __init__(self, c_in: int, channels: Width = 0, ratio: Count = 32) -> None:
        super().__init__()
        _check_channels(c_in, channels)
        hidden = max(c_in // ratio, MIN_COORDINATE_WIDTH)
        self.cv1 = ConvNormAct(c_in, hidden, activation="Hardswish")
        self.rows = nn.Conv2d(hidden, c_in, 1)
        self.columns = nn.Conv2d(hidden, c_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        averages = torch.cat((x.mean(3), x.mean(2)), 2).unsqueeze(3)  # (b, c, h + w, 1)
        squeezed = self.cv1(averages)
        rows = self.rows(squeezed[:, :, :height])
        columns = self.columns(squeezed[:, :, height:]).transpose(2, 3)
        return x * F.sigmoid(rows) * F.sigmoid(columns)
