"""Sums of linear branches that fuse to one convolution: the base of re-parameterized blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.conv import Conv2d, FusedConv
from detector.layers.fuse import (
    Kernel,
    add_kernels,
    chain_kernels,
    fold_batch_norm,
    identity_kernel,
    norm_kernel,
    plain_conv,
)


class Branch(nn.Module):
    """Linear map that one convolution can replace in eval mode."""

    def kernel(self) -> Kernel:
        """Return weight and bias of that convolution, float64."""
        raise NotImplementedError


class ConvNorm(Branch):
    """Convolution without bias → batch norm; centred padding.

    Args:
        kernel: side of the kernel, or its height and width; odd numbers.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        padded: bool = True,
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = Conv2d(c_in, c_out, sides, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))  # type: ignore[no-any-return]

    def kernel(self) -> Kernel:
        """Return the convolution's weight with the batch norm folded in."""
        return fold_batch_norm(self.conv, self.bn)


class IdentityNorm(Branch):
    """Batch norm of the input itself."""

    def __init__(self, channels: int, groups: int = 1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x)  # type: ignore[no-any-return]

    def kernel(self) -> Kernel:
        """Return a 1×1 kernel, diagonal within each group."""
        return norm_kernel(self.bn, self.groups)


class Scaled(Branch):
    """Branch whose output is multiplied by one learnt number, 1 at the start."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.branch = branch
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * self.branch(x)  # type: ignore[no-any-return]

    def kernel(self) -> Kernel:
        """Return the branch's kernel and bias times the number."""
        weight, bias = self.branch.kernel()
        alpha = self.alpha.detach().double()
        return weight * alpha, bias * alpha


class AverageNorm(Branch):
    """k×k average pool → batch norm; without padding."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, stride)
        self.bn = nn.BatchNorm2d(channels)
        self.size = kernel
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pool(x))  # type: ignore[no-any-return]

    def kernel(self) -> Kernel:
        """Return the kernel whose k·k values are 1/k² of the batch norm's scale."""
        weight, bias = norm_kernel(self.bn, self.groups)
        size = self.size
        return weight.expand(-1, -1, size, size) / size**2, bias


class PointwiseThen(Branch):
    """1×1 conv-BN → a k×k branch without padding, merged across the border, too.

    The features between the two are padded with what the 1×1 convolution and its batch norm make of
    zeros: the batch norm's shift. So the pair equals one convolution whose input is padded with
    zeros (DBB, arXiv 2103.13425, section 3.2).

    Args:
        identity: start with the 1×1 convolution that copies its input, for c_in = c_out.
    """

    def __init__(
        self, pointwise: ConvNorm, then: ConvNorm | AverageNorm, padding: int, identity: bool
    ) -> None:
        super().__init__()
        self.pointwise = pointwise
        self.then = then
        self.padding = padding
        if identity:
            conv = pointwise.conv
            eye = identity_kernel(conv.out_channels, conv.groups, 1)
            with torch.no_grad():
                conv.weight.copy_(eye)

    def forward(self, x: Tensor) -> Tensor:
        out = self.pointwise(x)
        bn = self.pointwise.bn
        mean, variance = cast(Tensor, bn.running_mean), cast(Tensor, bn.running_var)
        # The quotient is a tensor of its own: a further forward pass may change the statistics.
        shift = bn.bias - bn.weight * (mean / (variance + bn.eps).sqrt())
        shift = shift.to(out.dtype).view(1, -1, 1, 1)
        out = F.pad(out - shift, [self.padding] * 4) + shift
        return self.then(out)  # type: ignore[no-any-return]

    def kernel(self) -> Kernel:
        """Return the product of both kernels."""
        groups = self.pointwise.conv.groups
        return chain_kernels(self.pointwise.kernel(), self.then.kernel(), groups)


class BranchSum(nn.Module):
    """Sum of linear branches → channel attention, if any → activation.

    Args:
        main: branch that gives kernel size, stride, padding and groups of the fused convolution.
        others: branches with kernels of at most this size, whose centre is that of ``main``.
        act: the activation.
        se: the channel attention.
    """

    def __init__(
        self,
        main: ConvNorm,
        others: Iterable[Branch],
        act: nn.Module,
        se: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([main, *others])
        self.se = se or nn.Identity()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.branches[0](x)
        for branch in self.branches[1:]:
            out = out + branch(x)
        return self.act(self.se(out))  # type: ignore[no-any-return]

    def kernel(self) -> Kernel:
        """Return the sum of the branches' kernels and of their biases, float64."""
        return add_kernels([cast(Branch, branch).kernel() for branch in self.branches])

    def fuse(self) -> FusedConv:
        """Return a block with one convolution that is equivalent in eval mode."""
        main = cast(ConvNorm, self.branches[0])
        return FusedConv(plain_conv(main.conv, self.kernel()), self.act, self.se)
