"""YOLOv6's blocks (arXiv 2209.02976; version 3: 2301.05586): EfficientRep and RepBiFPAN."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import C3, SPPF, hidden_width
from detector.layers.spp import PooledCSP, Pyramid
from detector.layers.yolov7 import RepConv
from detector.registry import Count, Odd, Positive, Width, register


@register()
class RepBlock(nn.Sequential):
    """Chain of ``repeats`` RepVGG blocks with YOLO's batch-norm settings, all of stride 1."""

    def __init__(
        self, c_in: int, c_out: Width, repeats: int = 1, activation: Activation = "ReLU"
    ) -> None:
        super().__init__(
            *(RepConv(c_out if i else c_in, c_out, activation=activation) for i in range(repeats))
        )


class RepPair(nn.Module):
    """Two RepVGG blocks, and the input times a learnt number, 1 at the start, added to them."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = RepConv(channels, channels, activation=activation)
        self.conv2 = RepConv(channels, channels, activation=activation)
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)) + self.alpha * x  # type: ignore[no-any-return]


@register()
class BepC3(C3):
    """C3 with pairs of RepVGG blocks in place of bottlenecks: CSPStackRep of the larger models.

    ``repeats`` counts single RepVGG blocks, two of which make a pair.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        expansion: Positive = 0.5,
        activation: Activation = "ReLU",
    ) -> None:
        super().__init__(c_in, c_out, 0, expansion=expansion, activation=activation)
        hidden = hidden_width(c_out, expansion)
        pairs = max(repeats // 2, 1)
        self.m = nn.Sequential(*(RepPair(hidden, activation) for _ in range(pairs)))


@register()
class SimSPPF(SPPF):
    """SPPF with ReLU unless the file or the row gives another activation."""

    def __init__(
        self, c_in: int, c_out: Width, kernel: Odd = 5, activation: Activation = "ReLU"
    ) -> None:
        super().__init__(c_in, c_out, kernel, activation)


@register()
class SimCSPSPPF(PooledCSP):
    """Three chained max-pools on one of two cross-stage partial paths of ``expansion`` · c_out.

    As in published weights, the path without pools comes first in the concatenation.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 5,
        expansion: Positive = 0.5,
        activation: Activation = "ReLU",
    ) -> None:
        hidden = hidden_width(c_out, expansion)
        super().__init__(c_in, c_out, hidden, Pyramid([kernel] * 3, chained=True), 4, activation)

    def join(self, pooled: Tensor, direct: Tensor) -> Tensor:
        """Concatenate both paths, the one without pools first."""
        return concatenate((direct, pooled))


@register(joins=(2, 1, Fraction(1, 2)))
class BiFusion(nn.Module):
    """Fusion of three levels at the size of the middle one (arXiv 2301.05586, section 2.1).

    Reads the coarser, the same and the finer level. Transposed 2×2 conv of the coarser one, 1×1
    conv of the middle one, 1×1 and strided 3×3 conv of the finer one; concat; 1×1 conv.
    """

    def __init__(self, c_in: Sequence[int], c_out: Width, activation: Activation = "ReLU") -> None:
        super().__init__()
        coarse, middle, fine = c_in

        def conv(c: int, kernel: Count = 1, stride: Count = 1) -> Conv:
            return Conv(c, c_out, kernel, stride, activation=activation)

        self.up = nn.ConvTranspose2d(coarse, c_out, 2, 2)
        self.middle = conv(middle)
        self.down = nn.Sequential(conv(fine), conv(c_out, 3, 2))
        self.out = conv(3 * c_out)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        coarse, middle, fine = features
        joined = concatenate((self.up(coarse), self.middle(middle), self.down(fine)))
        return self.out(joined)  # type: ignore[no-any-return]
