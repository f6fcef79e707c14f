"""Slim-neck's blocks (arXiv 2206.02424, section 3): half of the channels by a depthwise conv."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import C3, hidden_width
from detector.layers.ghost import GhostConv
from detector.registry import Positive, Width, register


@register()
class GSConv(GhostConv):
    """GhostConv with its channels shuffled.

    The shuffling takes the channels 0, 2, 4, …, then 1, 3, 5, … of the concatenation.
    """

    def forward(self, x: Tensor) -> Tensor:
        both = super().forward(x)
        return concatenate((both[:, ::2], both[:, 1::2]))


class GSBottleneck(nn.Module):
    """1×1 GSConv → 3×3 GSConv without activation, plus a 1×1 conv of the input; c → c."""

    def __init__(
        self,
        channels: int,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        self.cv1 = GSConv(channels, channels, 1, activation=activation)
        self.cv2 = GSConv(channels, channels, 3, activation=False)
        self.shortcut = Conv(channels, channels, 1, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.cv1(x)) + self.shortcut(x)  # type: ignore[no-any-return]


@register()
class VoVGSCSP(C3):
    """C3 with GSConv bottlenecks; the concat has the path without bottlenecks first.

    Args:
        shortcut: accepted for published model files and ignored: these bottlenecks always have one.
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
        self.m = nn.Sequential(*(GSBottleneck(hidden, activation) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(concatenate((self.cv2(x), self.m(self.cv1(x)))))  # type: ignore[no-any-return]
