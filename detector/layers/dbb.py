"""Diverse branch block (arXiv 2103.13425): branches of different complexity, fused to one conv."""

from __future__ import annotations

from detector.layers.activation import Activation, make_activation
from detector.layers.branches import AverageNorm, BranchSum, ConvNorm, PointwiseThen
from detector.layers.conv import check_groups
from detector.registry import Count, Odd, Width, register


@register("DBB", "DiverseBranchBlock")
class DiverseBranchBlock(BranchSum):
    """Sum of k×k, 1×1, 1×1 → k×k and 1×1 → average pool, each with batch norms → activation.

    The 1×1 convolution before the k×k one keeps the c_in channels and begins as the identity
    (section 3.3).
    """

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
        padding = kernel // 2
        deep = PointwiseThen(
            ConvNorm(c_in, c_in, 1, groups=groups),
            ConvNorm(c_in, c_out, kernel, stride, groups, padded=False),
            padding,
            identity=True,
        )
        average = PointwiseThen(
            ConvNorm(c_in, c_out, 1, groups=groups),
            AverageNorm(c_out, kernel, stride, groups),
            padding,
            identity=False,
        )
        super().__init__(
            ConvNorm(c_in, c_out, kernel, stride, groups),
            [ConvNorm(c_in, c_out, 1, stride, groups), deep, average],
            make_activation(activation),
        )
