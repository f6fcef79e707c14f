"""ACNet's block (arXiv 1908.03930): a square kernel, strengthened along its central cross."""

from __future__ import annotations

from detector.layers.activation import Activation, make_activation
from detector.layers.branches import BranchSum, ConvNorm
from detector.layers.conv import check_groups
from detector.registry import Count, Odd, Width, register


@register("ACBlock", "ACNetBlock")
class ACBlock(BranchSum):
    """Sum of k×k, 1×k and k×1 conv-BN → activation."""

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        groups: Count = 1,
        activation: Activation = "SiLU",
    ) -> None:
        check_groups(groups, c_in, c_out)
        square, row, column = (
            ConvNorm(c_in, c_out, sides, stride, groups)
            for sides in ((kernel, kernel), (1, kernel), (kernel, 1))
        )
        super().__init__(square, [row, column], make_activation(activation))
