"""QARepVGG's block (arXiv 2212.01593, section 4): RepVGG's, made robust to quantization."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.conv import Conv2d, FusedConv, check_groups, same_padding
from detector.layers.fuse import (
    Kernel,
    add_kernels,
    fold_batch_norm,
    identity_kernel,
    norm_scale_shift,
    plain_conv,
)
from detector.registry import Count, Odd, Width, register


@register()
class QARepVGGBlock(nn.Module):
    """Sum of k×k conv-BN, 1×1 conv and identity → BN → activation.

    In RepVGG's block the batch norms of the 1×1 and identity branches inflate the variance of some
    channels; here these branches have no batch norm, and the sum has one.
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
        super().__init__()
        check_groups(groups, c_in, c_out)
        padding = same_padding(kernel)
        self.conv = Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.conv_bn = nn.BatchNorm2d(c_out)
        self.pointwise = Conv2d(c_in, c_out, 1, stride, groups=groups, bias=False)
        self.identity = stride == 1 and c_in == c_out
        self.bn = nn.BatchNorm2d(c_out)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_bn(self.conv(x)) + self.pointwise(x)
        if self.identity:
            out = out + x
        return self.act(self.bn(out))  # type: ignore[no-any-return]

    def fuse(self) -> FusedConv:
        """Return a block with one convolution that is equivalent in eval mode."""
        return FusedConv(plain_conv(self.conv, self.kernel()), self.act)

    def kernel(self) -> Kernel:
        """Return the sum of the branches' kernels with the last batch norm folded in, float64."""
        bias = torch.zeros_like(self.bn.running_mean, dtype=torch.float64)  # type: ignore[arg-type]
        kernels = [
            fold_batch_norm(self.conv, self.conv_bn),
            (self.pointwise.weight.detach().double(), bias),
        ]
        if self.identity:
            eye = identity_kernel(self.conv.out_channels, self.conv.groups, 1)
            kernels.append((eye.to(bias.device), bias))
        weight, bias = add_kernels(kernels)
        scale, shift = norm_scale_shift(self.bn)
        return weight * scale.view(-1, 1, 1, 1), torch.addcmul(shift, bias, scale)
