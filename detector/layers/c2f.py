"""The cross-stage partial blocks of YOLOv8 and YOLO11, which have no paper of their own.

As in arXiv 1911.11929 a part of the channels passes by the bottlenecks. Here one 1×1 convolution
makes both parts, and ELAN's rule (arXiv 2211.04800) keeps what each bottleneck gives.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import C3, Residual, hidden_width
from detector.registry import ULTRALYTICS, Count, Odd, Positive, Width, register


class SquareBottleneck(Residual):
    """Bottleneck of two k×k convs, c → c."""

    def __init__(
        self,
        channels: int,
        shortcut: bool,
        groups: int,
        expansion: float,
        activation: Activation,
        kernel: int = 3,
    ) -> None:
        hidden = hidden_width(channels, expansion)
        cv1 = Conv(channels, hidden, kernel, activation=activation)
        cv2 = Conv(hidden, channels, kernel, groups=groups, activation=activation)
        super().__init__(cv1, cv2, shortcut)


@register("Bottleneck", dialect=ULTRALYTICS)
class WideBottleneck(Residual):
    """3×3 conv → 3×3 conv, with a shortcut if ``shortcut`` is set and the widths agree."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        shortcut: bool = True,
        groups: Count = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        hidden = hidden_width(c_out, expansion)
        cv1 = Conv(c_in, hidden, 3, activation=activation)
        cv2 = Conv(hidden, c_out, 3, groups=groups, activation=activation)
        super().__init__(cv1, cv2, shortcut and c_in == c_out)


@register()
class C2(nn.Module):
    """1×1 conv to two halves → bottlenecks on the first; concat; 1×1 conv.

    Each half has ``expansion`` · c_out channels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = True,
        groups: Count = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        hidden = hidden_width(c_out, expansion)
        self.cv1 = Conv(c_in, 2 * hidden, 1, activation=activation)
        self.cv2 = Conv(2 * hidden, c_out, 1, activation=activation)
        self.m = nn.Sequential(
            *(SquareBottleneck(hidden, shortcut, groups, 1.0, activation) for _ in range(repeats))
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.cv1(x).chunk(2, 1)
        return self.cv2(concatenate((self.m(first), second)))  # type: ignore[no-any-return]


class SplitChain(nn.Module):
    """1×1 conv to two halves → chained blocks on the second; concat of all; 1×1 conv.

    Each half and each block's output has ``hidden`` channels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        hidden: int,
        chain: Sequence[nn.Module],
        activation: Activation,
    ) -> None:
        super().__init__()
        self.cv1 = Conv(c_in, 2 * hidden, 1, activation=activation)
        self.cv2 = Conv((2 + len(chain)) * hidden, c_out, 1, activation=activation)
        self.m = nn.ModuleList(chain)

    def forward(self, x: Tensor) -> Tensor:
        halves = self.cv1(x)
        features = [halves.chunk(2, 1)[1]]
        for block in self.m:
            features.append(block(features[-1]))
        return self.cv2(concatenate([halves, *features[1:]]))  # type: ignore[no-any-return]


@register()
class C2f(SplitChain):
    """Chain of ``repeats`` bottlenecks of ``expansion`` · c_out channels, see SplitChain."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = False,
        groups: Count = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        hidden = hidden_width(c_out, expansion)
        chain = [
            SquareBottleneck(hidden, shortcut, groups, 1.0, activation) for _ in range(repeats)
        ]
        super().__init__(c_in, c_out, hidden, chain, activation)


@register()
class C3k(C3):
    """C3 whose bottlenecks have two k×k convolutions."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = True,
        groups: Count = 1,
        expansion: Positive = 0.5,
        kernel: Odd = 3,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(c_in, c_out, 0, expansion=expansion, activation=activation)
        hidden = hidden_width(c_out, expansion)
        self.m = nn.Sequential(
            *(
                SquareBottleneck(hidden, shortcut, groups, 1.0, activation, kernel)
                for _ in range(repeats)
            )
        )


NESTED = 2
"""Number of bottlenecks in each C3k of a C3k2."""


def _nested_in_large_scales(scale: str | None, modules: Collection[str]) -> dict[str, bool]:
    return {"c3k": True} if scale in {"m", "l", "x"} else {}


@register(implied=_nested_in_large_scales)
class C3k2(SplitChain):
    """Chain of ``repeats`` bottlenecks of half width, or with ``c3k`` of C3k; see SplitChain.

    The files of YOLO11 write ``c3k`` for their scales n and s; m, l and x have it in every row.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        c3k: bool = False,
        expansion: Positive = 0.5,
        groups: Count = 1,
        shortcut: bool = True,
        activation: Activation = "SiLU",
    ) -> None:
        hidden = hidden_width(c_out, expansion)

        def link() -> nn.Module:
            if c3k:
                return C3k(hidden, hidden, NESTED, shortcut, groups, activation=activation)
            return SquareBottleneck(hidden, shortcut, groups, 0.5, activation)

        super().__init__(c_in, c_out, hidden, [link() for _ in range(repeats)], activation)
