"""GELAN, the blocks of YOLOv9 (arXiv 2402.13616, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.checks import even_half
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import C3, SPPF, Residual, hidden_width
from detector.layers.yolov7 import RepConv
from detector.registry import Count, Positive, Size, Width, register

register("Silence")(nn.Identity)


class RepBottleneck(Residual):
    """RepConv without identity → 3×3 conv, both c → c, with a shortcut if ``shortcut`` is set."""

    def __init__(self, channels: int, shortcut: bool, groups: int, activation: Activation) -> None:
        cv1 = RepConv(channels, channels, activation=activation, identity=False)
        cv2 = Conv(channels, channels, 3, groups=groups, activation=activation)
        super().__init__(cv1, cv2, shortcut)


@register()
class RepNCSP(C3):
    """C3 whose bottlenecks begin with a re-parameterized 3×3 convolution."""

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
        super().__init__(c_in, c_out, 0, expansion=expansion, activation=activation)
        hidden = hidden_width(c_out, expansion)
        self.m = nn.Sequential(
            *(RepBottleneck(hidden, shortcut, groups, activation) for _ in range(repeats))
        )


class LinkedParts(nn.Module):
    """1×1 conv to ``part``, halves a and b; c: link of b; d: link of c; 1×1 of [a, b, c, d].

    Args:
        link: makes a layer from its input's and its output's channels.
        part: width of the first convolution. ``width_multiple`` does not scale it, nor ``process``:
            published model files give both as built.
        process: width of c and d; by default half of ``part``.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        part: Count,
        process: Count | None,
        activation: Activation,
        link: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        half = even_half("part", part)
        process = process or half
        self.cv1 = Conv(c_in, part, 1, activation=activation)
        self.cv2 = link(half, process)
        self.cv3 = link(process, process)
        self.cv4 = Conv(part + 2 * process, c_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.cv1(x)
        c = self.cv2(parts.chunk(2, 1)[1])
        return self.cv4(concatenate((parts, c, self.cv3(c))))  # type: ignore[no-any-return]


@register("ELAN", "ELAN1")
class ELAN(LinkedParts):
    """LinkedParts whose links are 3×3 convs."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        part: Count,
        process: Count | None = None,
        activation: Activation = "SiLU",
    ) -> None:
        def link(c: int, width: int) -> nn.Module:
            return Conv(c, width, 3, activation=activation)

        super().__init__(c_in, c_out, part, process, activation, link)


@register("RepNCSPELAN", "RepNCSPELAN4")
class RepNCSPELAN(LinkedParts):
    """LinkedParts whose links are a RepNCSP of ``bottlenecks`` and a 3×3 conv."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        part: Count,
        process: Count | None = None,
        bottlenecks: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        def link(c: int, width: int) -> nn.Module:
            csp = RepNCSP(c, width, bottlenecks, activation=activation)
            return nn.Sequential(csp, Conv(width, width, 3, activation=activation))

        super().__init__(c_in, c_out, part, process, activation, link)


@register(stride=lambda arguments: 2)
class AConv(nn.Module):
    """2×2 average pool of stride 1 → 3×3 conv of stride 2. (b, c, h, w) → (b, c_out, h/2, w/2)."""

    def __init__(self, c_in: int, c_out: Width, activation: Activation = "SiLU") -> None:
        super().__init__()
        self.cv1 = Conv(c_in, c_out, 3, 2, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(F.avg_pool2d(x, 2, 1))  # type: ignore[no-any-return]


@register(stride=lambda arguments: 2)
class ADown(nn.Module):
    """2×2 average pool of stride 1, then each half of the channels at stride 2 to half of c_out.

    The first half takes a 3×3 conv, the second a 3×3 max-pool and a 1×1 conv.
    """

    def __init__(self, c_in: int, c_out: Width, activation: Activation = "SiLU") -> None:
        super().__init__()
        half_in, half_out = even_half("c_in", c_in), even_half("c_out", c_out)
        self.cv1 = Conv(half_in, half_out, 3, 2, activation=activation)
        self.cv2 = Conv(half_in, half_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        first, second = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return concatenate((self.cv1(first), self.cv2(F.max_pool2d(second, 3, 2, 1))))


@register(joins=True, channels=lambda arguments, c_in: c_in[-1])
class SliceSum(nn.Module):
    """Sum of the last feature and a slice of each other one's channels (YOLOv9's CBFuse).

    Args:
        starts: first channel of the slice of each feature but the last.
        c_in: channels of the features.
    """

    def __init__(self, starts: Sequence[Size], c_in: Sequence[int] = ()) -> None:
        super().__init__()
        *others, width = c_in
        if len(starts) != len(others):
            raise ValueError(f"argument 'starts': expected {len(others)}, found {len(starts)}")
        for start, channels in zip(starts, others, strict=True):
            if start + width > channels:
                raise ValueError(
                    f"argument 'starts': {width} channels from {start} of a feature of {channels}"
                )
        self.starts = tuple(starts)
        self.width = width

    def forward(self, features: list[Tensor]) -> Tensor:
        *others, total = features
        for start, feature in zip(self.starts, others, strict=True):
            total = total + feature[:, start : start + self.width]
        return total


@register()
class SPPELAN(SPPF):
    """SPPF of hidden width ``hidden``, by default half of c_out."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        hidden: Count | None = None,
        activation: Activation = "SiLU",
    ) -> None:
        hidden = hidden or hidden_width(c_out, 0.5)
        super().__init__(c_in, c_out, activation=activation, hidden=hidden)
