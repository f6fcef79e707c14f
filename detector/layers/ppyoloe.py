"""PP-YOLOE's blocks (arXiv 2203.16250): CSPRepResNet and the stages of its path aggregation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.branches import Branch, BranchSum, ConvNorm, Scaled
from detector.layers.concat import concatenate
from detector.layers.conv import Conv, check_groups
from detector.layers.csp import hidden_width
from detector.layers.se import ESEBlock
from detector.layers.spp import KERNELS, Pyramid
from detector.registry import Count, Odd, Width, register

PPYOLOE_EPS, PPYOLOE_MOMENTUM = 1e-5, 0.1


def _conv(c_in: int, c_out: int, kernel: int, activation: Activation, stride: int = 1) -> Conv:
    return Conv(
        c_in,
        c_out,
        kernel,
        stride,
        activation=activation,
        eps=PPYOLOE_EPS,
        momentum=PPYOLOE_MOMENTUM,
    )


@register()
class AlphaRepVGGBlock(BranchSum):
    """Sum of k×k conv-BN and α times 1×1 conv-BN → activation; without an identity branch.

    Args:
        alpha: learn α, 1 at the start (PP-YOLOE+); False for PP-YOLOE, where it is 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        groups: Count = 1,
        alpha: bool = True,
        activation: Activation = "SiLU",
    ) -> None:
        check_groups(groups, c_in, c_out)
        pointwise: Branch = ConvNorm(c_in, c_out, 1, stride, groups)
        super().__init__(
            ConvNorm(c_in, c_out, kernel, stride, groups),
            [Scaled(pointwise) if alpha else pointwise],
            make_activation(activation),
        )


class RepResBlock(nn.Module):
    """3×3 conv → RepVGG block, with a shortcut if ``shortcut`` is set."""

    def __init__(self, channels: int, shortcut: bool, alpha: bool, activation: Activation) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 3, activation)
        self.conv2 = AlphaRepVGGBlock(channels, channels, alpha=alpha, activation=activation)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        return x + out if self.shortcut else out


class RepCSP(nn.Module):
    """1×1 conv beside 1×1 conv → chain; concat → attention, if any → 1×1 conv.

    Args:
        hidden: channels of each path.
        chain: modules that keep the channels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        hidden: int,
        chain: Sequence[nn.Module],
        activation: Activation,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(c_in, hidden, 1, activation)
        self.conv2 = _conv(c_in, hidden, 1, activation)
        self.chain = nn.Sequential(*chain)
        self.attention = ESEBlock(2 * hidden) if attention else nn.Identity()
        self.conv3 = _conv(2 * hidden, c_out, 1, activation)

    def forward(self, x: Tensor) -> Tensor:
        paths = concatenate((self.conv1(x), self.chain(self.conv2(x))))
        return self.conv3(self.attention(paths))  # type: ignore[no-any-return]


@register(stride=lambda arguments: 2)
class CSPResStage(nn.Sequential):
    """Stage of the backbone: strided 3×3 conv to (c_in + c_out) / 2 → cross-stage partial block.

    Each path has half of these channels; one has ``repeats`` pairs of a 3×3 conv and a RepVGG block
    with shortcuts. Effective squeeze-and-excitation follows the concatenation.

    Args:
        alpha: learn the factor of the 1×1 branches, see :class:`AlphaRepVGGBlock`.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        alpha: bool = True,
        activation: Activation = "SiLU",
    ) -> None:
        middle = (c_in + c_out) // 2
        hidden = hidden_width(middle, 0.5)
        chain = [RepResBlock(hidden, True, alpha, activation) for _ in range(repeats)]
        super().__init__(
            _conv(c_in, middle, 3, activation, stride=2),
            RepCSP(middle, c_out, hidden, chain, activation, attention=True),
        )


@register()
class CSPPANStage(RepCSP):
    """Stage of the neck: cross-stage partial block of RepVGG pairs without shortcuts.

    Args:
        spp: insert a pyramid of max-pools after the middle pair.
        alpha: learn the factor of the 1×1 branches, see :class:`AlphaRepVGGBlock`.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        spp: bool = False,
        alpha: bool = False,
        activation: Activation = "SiLU",
    ) -> None:
        hidden = hidden_width(c_out, 0.5)
        chain: list[nn.Module] = [
            RepResBlock(hidden, False, alpha, activation) for _ in range(repeats)
        ]
        if spp:
            merge = _conv((1 + len(KERNELS)) * hidden, hidden, 1, activation)
            chain.insert((repeats + 1) // 2, nn.Sequential(Pyramid(KERNELS), merge))
        super().__init__(c_in, c_out, hidden, chain, activation)
