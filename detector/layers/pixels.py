"""Space-to-depth and depth-to-space: pixels moved into channels and back."""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv, Conv2d, FusedConv
from detector.layers.fuse import fold_batch_norm, plain_conv
from detector.registry import Count, Size, Width, register


@register(channels=lambda arguments, c_in: 4 * c_in[0], stride=lambda arguments: 2)
class ReOrg(nn.Module):
    """Space-to-depth of 2×2 pixels. (b, c, h, w) → (b, 4c, h/2, w/2).

    The pixels of a square are taken column by column, as in YOLOv5's and YOLOv7's weights.
    (YOLOv2's passthrough layer does the same, arXiv 1612.08242, section 2.)
    """

    def forward(self, x: Tensor) -> Tensor:
        return concatenate([x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)])


@register(stride=lambda arguments: 2 * arguments.get("stride", 1))
class Focus(nn.Module):
    """ReOrg → Conv. (b, c, h, w) → (b, c_out, h/2s, w/2s).

    Fused, it is one convolution of twice the kernel, stride and padding, as YOLOv5 6.0 has it.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        stride: Count = 1,
        padding: Size | None = None,
        groups: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        self.squares = ReOrg()
        self.conv = Conv(4 * c_in, c_out, kernel, stride, padding, groups, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.squares(x))  # type: ignore[no-any-return]

    def fuse(self) -> FusedConv | nn.Sequential:
        """Return an equivalent convolution on pixels; groups of squares' channels stay as they are.

        A group reads some of a square's pixels: on the image its convolution would be dense.
        """
        conv = self.conv.conv
        if conv.groups > 1:
            return nn.Sequential(self.squares, self.conv.fuse())
        weight, bias = fold_batch_norm(conv, self.conv.bn)
        weight = _on_pixels(weight)
        kernel, stride, padding = (
            2 * int(sides[0]) for sides in (conv.kernel_size, conv.stride, conv.padding)
        )
        like = Conv2d(weight.shape[1], conv.out_channels, kernel, stride, padding, device="meta")
        return FusedConv(plain_conv(like.to(conv.weight.dtype), (weight, bias)), self.conv.act)


def _on_pixels(weight: Tensor) -> Tensor:
    """Return the weight on pixels, (o, c, 2k, 2k), of one on their 2×2 squares, (o, 4c, k, k).

    Element (o, (2 · column + row) · c + i, u, v) becomes (o, i, 2u + row, 2v + column).
    """
    squares: Tensor = weight.unflatten(1, (2, 2, -1))  # (o, column, row, c, u, v)
    return squares.permute(0, 3, 4, 2, 5, 1).flatten(4, 5).flatten(2, 3)


@register(
    channels=lambda arguments, c_in: c_in[0] * arguments.get("gain", 2) ** 2,
    stride=lambda arguments: arguments.get("gain", 2),
)
class Contract(nn.Module):
    """Space-to-depth of g×g pixels. (b, c, h, w) → (b, g² · c, h/g, w/g).

    Pixel (row, column) of a square becomes the channels (row · g + column) · c + i.
    """

    def __init__(self, gain: Count = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        squares: Tensor = x.unflatten(3, (-1, self.gain)).unflatten(2, (-1, self.gain))
        # (b, c, h/g, row, w/g, column) → (b, row, column, c, h/g, w/g)
        return squares.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


@register(
    channels=lambda arguments, c_in: c_in[0] // arguments.get("gain", 2) ** 2,
    stride=lambda arguments: Fraction(1, arguments.get("gain", 2)),
)
class Expand(nn.Module):
    """Depth-to-space, the inverse of Contract. (b, g² · c, h, w) → (b, c, g · h, g · w)."""

    def __init__(self, c_in: int, gain: Count = 2) -> None:
        super().__init__()
        if c_in % gain**2:
            raise ValueError(f"argument 'gain': {gain}² does not divide {c_in} channels")
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        squares: Tensor = x.unflatten(1, (self.gain, self.gain, -1))
        # (b, row, column, c, h, w) → (b, c, h, row, w, column)
        return squares.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
