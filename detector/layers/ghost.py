"""GhostNet's blocks (arXiv 1911.11907, section 3): half of the channels by cheap operations."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.checks import even_half
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import C3, hidden_width
from detector.layers.depthwise import DWConv
from detector.registry import Count, Positive, Width, register


@register()
class GhostConv(nn.Module):
    """Conv to half of c_out, concatenated with a depthwise 5×5 conv of it (section 3.1)."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        stride: Count = 1,
        groups: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        half = even_half("c_out", c_out)
        self.cv1 = Conv(c_in, half, kernel, stride, groups=groups, activation=activation)
        self.cv2 = DWConv(half, half, 5, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        half = self.cv1(x)
        return concatenate((half, self.cv2(half)))


@register()
class GhostBottleneck(nn.Module):
    """Ghost conv to half of c_out → depthwise conv if strided → ghost conv, plus shortcut (3.2).

    The shortcut is the input itself if the stride is 1 and c_in = c_out, else a depthwise and a
    1×1 conv. No activation follows the sum.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 3,
        stride: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        if c_out % 4:
            raise ValueError(f"a ghost bottleneck makes a multiple of 4 channels, found {c_out}")
        half = c_out // 2

        def depthwise(c: int) -> nn.Module:
            return DWConv(c, c, kernel, stride, activation=False)

        self.conv = nn.Sequential(
            GhostConv(c_in, half, activation=activation),
            depthwise(half) if stride > 1 else nn.Identity(),
            GhostConv(half, c_out, activation=False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.shortcut = nn.Sequential(depthwise(c_in), Conv(c_in, c_out, 1, activation=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)  # type: ignore[no-any-return]


@register()
class C3Ghost(C3):
    """C3 with ghost bottlenecks.

    Args:
        shortcut: accepted for published model files and ignored: ghost bottlenecks always have one.
        groups: accepted for published model files; must be 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = True,
        groups: Literal[1] = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(c_in, c_out, 0, expansion=expansion, activation=activation)
        hidden = hidden_width(c_out, expansion)
        self.m = nn.Sequential(
            *(GhostBottleneck(hidden, hidden, activation=activation) for _ in range(repeats))
        )
