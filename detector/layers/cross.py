"""A k×k convolution split into 1×k and k×1 (Inception-v3, arXiv 1512.00567, section 3.2)."""

from __future__ import annotations

from torch import nn

from detector.layers.activation import Activation
from detector.layers.conv import Conv, Conv2d, same_padding
from detector.layers.csp import C3, Residual, hidden_width
from detector.registry import Count, Odd, Positive, Width, register


class StripConv(Conv):
    """Conv with a kernel one pixel high or wide; kernel and stride are (height, width)."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_hw: tuple[int, int],
        stride_hw: tuple[int, int],
        groups: int = 1,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(c_in, c_out, groups=groups, activation=activation)
        padding = same_padding(kernel_hw[0]), same_padding(kernel_hw[1])
        self.conv = Conv2d(c_in, c_out, kernel_hw, stride_hw, padding, groups=groups, bias=False)


@register()
class CrossConv(Residual):
    """1×k conv → k×1 conv, with a shortcut if ``shortcut`` is set and the shapes agree."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        groups: Count = 1,
        expansion: Positive = 1.0,
        shortcut: bool = False,
        activation: Activation = "SiLU",
    ) -> None:
        hidden = hidden_width(c_out, expansion)
        cv1 = StripConv(c_in, hidden, (1, kernel), (1, stride), activation=activation)
        cv2 = StripConv(hidden, c_out, (kernel, 1), (stride, 1), groups, activation)
        super().__init__(cv1, cv2, shortcut and c_in == c_out and stride == 1)


@register()
class C3x(C3):
    """C3 with 3×3 cross convolutions in place of bottlenecks."""

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
            *(
                CrossConv(hidden, hidden, groups=groups, shortcut=shortcut, activation=activation)
                for _ in range(repeats)
            )
        )
