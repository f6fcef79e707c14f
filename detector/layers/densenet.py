"""DenseNet's layers (arXiv 1608.06993, section 3): batch norm and activation come before each conv.

Such a batch norm reads what several layers made, and an activation follows it, so that it is no
part of any convolution. Fused, it is a factor and an offset. The batch norm behind a bottleneck is
folded into the bottleneck's convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv, Conv2d, same_padding
from detector.layers.fuse import norm_scale_shift
from detector.registry import Count, Positive, Size, Width, register

DENSENET_EPS, DENSENET_MOMENTUM = 1e-5, 0.1


@register()
class NormAct(nn.Module):
    """BatchNorm2d → activation."""

    def __init__(
        self,
        c_in: int,
        activation: Activation = "ReLU",
        eps: Positive = DENSENET_EPS,
        momentum: Positive = DENSENET_MOMENTUM,
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(c_in, eps, momentum)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))  # type: ignore[no-any-return]

    def fuse(self) -> nn.Sequential:
        """Return an equivalent factor and offset of each channel with the activation."""
        return nn.Sequential(ScaleShift(self.bn), self.act)


class ScaleShift(nn.Module):
    """Factor and offset of each channel: a batch norm in evaluation mode.

    A depthwise 1×1 convolution computes the same, but torch takes far longer for it on CPUs.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        scale, shift = norm_scale_shift(norm)
        dtype = norm.weight.dtype
        self.weight = nn.Parameter(scale.view(-1, 1, 1).to(dtype))
        self.bias = nn.Parameter(shift.view(-1, 1, 1).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


@register()
class PreActConv(nn.Module):
    """BatchNorm2d → activation → Conv2d without bias. (b, c_in, h, w) → (b, c_out, h/s, w/s).

    With a kernel of 1 it is DenseNet's transition, which a row of pooling follows.

    Args:
        padding: padding in pixels; ``None`` keeps the size at stride 1, for odd kernels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        stride: Count = 1,
        padding: Size | None = None,
        activation: Activation = "ReLU",
        eps: Positive = DENSENET_EPS,
        momentum: Positive = DENSENET_MOMENTUM,
    ) -> None:
        super().__init__()
        self.norm = NormAct(c_in, activation, eps, momentum)
        padding = same_padding(kernel) if padding is None else padding
        self.conv = Conv2d(c_in, c_out, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))  # type: ignore[no-any-return]


@register(channels=lambda arguments, c_in: c_in[0] + int(arguments["growth"]))
class DenseLayer(nn.Module):
    """Input, and ``growth`` channels made of it: (b, c_in, h, w) → (b, c_in + growth, h, w).

    Norm → activation → 1×1 conv → norm → activation → 3×3 conv. A row with the number n is a dense
    block of n layers.

    Args:
        growth: number of channels that the layer adds.
        bottleneck: width of the 1×1 convolution; None for none.
    """

    def __init__(
        self,
        c_in: int,
        growth: Width,
        bottleneck: Width | None = None,
        activation: Activation = "ReLU",
        eps: Positive = DENSENET_EPS,
        momentum: Positive = DENSENET_MOMENTUM,
    ) -> None:
        super().__init__()
        self.growth = growth
        self.norm = NormAct(c_in, activation, eps, momentum)
        self.reduce: nn.Module = nn.Identity()
        if bottleneck is not None:
            self.reduce = Conv(
                c_in, bottleneck, 1, activation=activation, eps=eps, momentum=momentum
            )
        self.grow = Conv2d(bottleneck or c_in, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return concatenate((x, self.grow(self.reduce(self.norm(x)))))
