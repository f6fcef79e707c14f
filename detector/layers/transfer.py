"""RefineDet's transfer connection block (arXiv 1711.06897, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.conv import Conv
from detector.layers.fuse import fold_batch_norm_transposed
from detector.layers.vgg import ConvAct

EPS, MOMENTUM = 1e-5, 0.1


class TransferConnection(nn.Module):
    """Features of one level, mixed with those of the coarser one: (b, c, h, w) → (b, width, h, w).

    Two 3×3 convolutions, to whose result the doubled coarser features are added; then another one.

    Args:
        c_in: channels of the level.
        width: channels of the output, and of the coarser level's.
        has_coarser: there is a coarser level, of half the size.
        norm: batch norms behind the convolutions, which then have no bias.
    """

    def __init__(
        self, c_in: int, width: int, has_coarser: bool, norm: bool, activation: Activation
    ) -> None:
        super().__init__()
        self.first = _conv(c_in, width, norm, activation)
        self.second = _conv(width, width, norm, False)
        self.up = UpConv(width, norm) if has_coarser else None
        self.act = make_activation(activation)
        self.last = _conv(width, width, norm, activation)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        x = self.second(self.first(x))
        if self.up is not None:
            assert coarser is not None
            x = x + self.up(coarser)
        return self.last(self.act(x))  # type: ignore[no-any-return]


def _conv(c_in: int, c_out: int, norm: bool, activation: Activation) -> nn.Module:
    if not norm:
        return ConvAct(c_in, c_out, 3, activation=activation)
    return Conv(c_in, c_out, 3, activation=activation, eps=EPS, momentum=MOMENTUM)


class UpConv(nn.Module):
    """Transposed 2×2 convolution of stride 2, with a batch norm or a bias. Doubles the size."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(width, width, 2, 2, bias=not norm)
        self.bn = nn.BatchNorm2d(width, EPS, MOMENTUM) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))  # type: ignore[no-any-return]

    def fuse(self) -> nn.ConvTranspose2d:
        """Return an equivalent transposed convolution."""
        if not isinstance(self.bn, nn.BatchNorm2d):
            return self.conv
        return fold_batch_norm_transposed(self.conv, self.bn)
