"""Spatial pyramid pooling (arXiv 1406.4729, section 2): features pooled at several scales.

The pools have stride 1, as in YOLOv3-SPP, so that the features keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.checks import check_odd
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import C3, hidden_width
from detector.registry import Count, Positive, Width, register

KERNELS = (5, 9, 13)
"""Default sides of the pools."""


class Pyramid(nn.ModuleList):
    """Concatenation of the input and a max-pool of it per kernel: c → (1 + kernels) · c."""

    def __init__(self, kernels: Sequence[int]) -> None:
        check_odd(kernels)
        super().__init__(nn.MaxPool2d(kernel, 1, kernel // 2) for kernel in kernels)

    def forward(self, x: Tensor) -> Tensor:
        return concatenate([x, *(pool(x) for pool in self)])


class ChainedPyramid(nn.Module):
    """Concatenation of the input and three max-pools, each of the one before it: c → 4 · c.

    Chained 5×5 pools equal the pyramid of 5, 9 and 13.
    """

    def __init__(self, kernel: int = 5) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel, 1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for _ in range(3):
            features.append(self.pool(features[-1]))
        return concatenate(features)


@register()
class SPP(nn.Module):
    """1×1 conv to half of c_in → pyramid of max-pools → 1×1 conv to c_out."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernels: Sequence[int] = KERNELS,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        hidden = hidden_width(c_in, 0.5)
        self.cv1 = Conv(c_in, hidden, 1, activation=activation)
        self.m = Pyramid(kernels)
        self.cv2 = Conv(hidden * (1 + len(kernels)), c_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.m(self.cv1(x)))  # type: ignore[no-any-return]


@register()
class C3SPP(C3):
    """C3 with one SPP in place of bottlenecks."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernels: Sequence[int] = KERNELS,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(c_in, c_out, 0, expansion=expansion, activation=activation)
        hidden = hidden_width(c_out, expansion)
        self.m = SPP(hidden, hidden, kernels, activation)


class PooledCSP(nn.Module):
    """Pyramid of max-pools on one of two cross-stage partial paths.

    x → 1×1 → 3×3 → 1×1 → pyramid → 1×1 → 3×3 beside x → 1×1; concat → 1×1 to c_out. All other
    convs have ``hidden`` channels.

    Args:
        pyramid: module that multiplies the channels by ``levels``.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        hidden: int,
        pyramid: nn.Module,
        levels: int,
        activation: Activation,
    ) -> None:
        super().__init__()

        def conv(c: int, kernel: Count) -> Conv:
            return Conv(c, hidden, kernel, activation=activation)

        self.cv1, self.cv3, self.cv4 = conv(c_in, 1), conv(hidden, 3), conv(hidden, 1)
        self.m = pyramid
        self.cv5, self.cv6 = conv(levels * hidden, 1), conv(hidden, 3)
        self.cv2 = conv(c_in, 1)
        self.cv7 = Conv(2 * hidden, c_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.cv6(self.cv5(self.m(self.cv4(self.cv3(self.cv1(x))))))
        return self.cv7(self.join(pooled, self.cv2(x)))  # type: ignore[no-any-return]

    def join(self, pooled: Tensor, direct: Tensor) -> Tensor:
        """Concatenate both paths."""
        return concatenate((pooled, direct))


@register()
class SPPCSPC(PooledCSP):
    """YOLOv7's pyramid (arXiv 2207.02696): :class:`PooledCSP` with c_out channels throughout."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernels: Sequence[int] = KERNELS,
        activation: Activation = "SiLU",
    ) -> None:
        pyramid = Pyramid(kernels)
        super().__init__(c_in, c_out, c_out, pyramid, 1 + len(kernels), activation)
