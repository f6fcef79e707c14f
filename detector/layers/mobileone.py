"""MobileOne's blocks (arXiv 2206.04040, section 3.2): several equal branches in training."""

from __future__ import annotations

from torch import nn

from detector.layers.activation import Activation, make_activation
from detector.layers.branches import Branch, BranchSum, ConvNorm, IdentityNorm
from detector.layers.conv import check_groups
from detector.layers.se import SEBlock
from detector.registry import Count, Odd, Size, Width, register


@register()
class MobileOneBlock(BranchSum):
    """Sum of ``branches`` k×k conv-BNs, a 1×1 conv-BN and identity BN → SE, if any → activation.

    The 1×1 branch (the paper's scale branch) exists if the kernel is larger than 1, the identity
    branch if the stride is 1 and c_in = c_out.

    Args:
        groups: groups of all convolutions; c_in for a depthwise block.
        branches: number of k×k branches, the paper's over-parameterization factor k.
        use_se: add squeeze-and-excitation before the activation.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        groups: Count = 1,
        branches: Count = 1,
        use_se: bool = False,
        activation: Activation = "SiLU",
    ) -> None:
        check_groups(groups, c_in, c_out)

        def branch(side: int) -> ConvNorm:
            return ConvNorm(c_in, c_out, side, stride, groups)

        others: list[Branch] = [branch(kernel) for _ in range(branches - 1)]
        if kernel > 1:
            others.append(branch(1))
        if stride == 1 and c_in == c_out:
            others.append(IdentityNorm(c_out, groups))
        se = SEBlock(c_out) if use_se else None
        super().__init__(branch(kernel), others, make_activation(activation), se)


@register(stride=lambda arguments: arguments.get("stride", 2))
class MobileOneStage(nn.Sequential):
    """Stage of ``repeats`` pairs of a depthwise 3×3 and a 1×1 block; the first one has the stride.

    Args:
        branches: number of k×k branches of each block, see :class:`MobileOneBlock`.
        attentive: number of last pairs whose blocks have squeeze-and-excitation.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        stride: Count = 2,
        branches: Count = 1,
        attentive: Size = 0,
        activation: Activation = "SiLU",
    ) -> None:
        blocks: list[nn.Module] = []
        for i in range(repeats):
            c = c_out if i else c_in
            use_se = i >= repeats - attentive
            blocks += (
                MobileOneBlock(c, c, 3, 1 if i else stride, c, branches, use_se, activation),
                MobileOneBlock(c, c_out, 1, 1, 1, branches, use_se, activation),
            )
        super().__init__(*blocks)
