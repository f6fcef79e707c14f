"""PeleeNet's stem and two-way dense layer (arXiv 1804.06882, section 2)."""

from __future__ import annotations

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.registry import Width, register

PELEENET_EPS, PELEENET_MOMENTUM = 1e-5, 0.1


def _conv(c_in: int, c_out: int, kernel: int, activation: Activation, stride: int = 1) -> nn.Module:
    return Conv(
        c_in,
        c_out,
        kernel,
        stride,
        activation=activation,
        eps=PELEENET_EPS,
        momentum=PELEENET_MOMENTUM,
    )


@register(stride=lambda arguments: 4)
class PeleeStem(nn.Module):
    """Stem of stride 4: a strided conv, then a pool beside 1×1 and strided 3×3 convs, then 1×1.

    (b, c_in, h, w) → (b, c_out, h/4, w/4).
    """

    def __init__(self, c_in: int, c_out: Width, activation: Activation = "ReLU") -> None:
        super().__init__()
        self.first = _conv(c_in, c_out, 3, activation, stride=2)
        self.reduce = _conv(c_out, c_out // 2, 1, activation)
        self.down = _conv(c_out // 2, c_out, 3, activation, stride=2)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.join = _conv(2 * c_out, c_out, 1, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        ways = (self.pool(x), self.down(self.reduce(x)))
        return self.join(concatenate(ways))  # type: ignore[no-any-return]


@register(channels=lambda arguments, c_in: c_in[0] + int(arguments["growth"]))
class TwoWayDenseLayer(nn.Module):
    """Input, and two halves of ``growth`` channels: (b, c_in, h, w) → (b, c_in + growth, h, w).

    One half is made by a 1×1 and a 3×3 conv, the other by a 1×1 and two 3×3 convs, which see a
    wider area. Norms and activations follow the convs. A row with the number n is a dense block of
    n layers.

    Args:
        growth: number of channels that the layer adds, even.
        bottleneck: width of each 1×1 convolution.
    """

    def __init__(
        self, c_in: int, growth: Width, bottleneck: Width, activation: Activation = "ReLU"
    ) -> None:
        super().__init__()
        if growth % 2:
            raise ValueError(f"argument 'growth': expected an even number, found {growth}")
        half = growth // 2
        self.near = nn.Sequential(
            _conv(c_in, bottleneck, 1, activation), _conv(bottleneck, half, 3, activation)
        )
        self.far = nn.Sequential(
            _conv(c_in, bottleneck, 1, activation),
            _conv(bottleneck, half, 3, activation),
            _conv(half, half, 3, activation),
        )

    def forward(self, x: Tensor) -> Tensor:
        return concatenate((x, self.near(x), self.far(x)))
