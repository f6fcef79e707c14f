"""The arithmetic of fusing: batch norm into a convolution, branches into one kernel.

RepVGG (arXiv 2101.03697, section 3.3). Everything is computed in float64 and cast last.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = tuple[Tensor, Tensor]
"""A convolution's weight, (c_out, c_in / groups, k, k), and bias, (c_out,), in float64."""


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Kernel:
    """W′ = γ/√(σ²+ε) · W, b′ = β + (b − μ) · γ/√(σ²+ε)."""
    scale, shift = norm_scale_shift(norm)
    weight = conv.weight.detach().double() * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else shift + conv.bias.detach().double() * scale
    return weight, bias


def norm_scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm in eval mode as x · scale + shift, each (c,), float64."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    deviation = (norm.running_var.detach().double() + norm.eps).sqrt()
    gamma = 1.0 if norm.weight is None else norm.weight.detach().double()
    beta = 0.0 if norm.bias is None else norm.bias.detach().double()
    scale = gamma / deviation
    return scale, beta - norm.running_mean.detach().double() * scale


def identity_kernel(channels: int, groups: int, size: int) -> Tensor:
    """The kernel that copies its input: [i, i mod (c / groups), centre, centre] = 1; float64."""
    kernel = torch.zeros(channels, channels // groups, size, size, dtype=torch.float64)
    index = torch.arange(channels)
    kernel[index, index % (channels // groups), size // 2, size // 2] = 1
    return kernel


def pad_kernel(weight: Tensor, size: int, at: int | None = None) -> Tensor:
    """Put a smaller kernel into a larger one of ``size``: at its centre, or from ``at`` on."""
    free = size - weight.shape[-1]
    before = free // 2 if at is None else at
    return F.pad(weight, [before, free - before] * 2)


def plain_conv(like: nn.Conv2d, kernel: Kernel) -> nn.Conv2d:
    """A copy of ``like`` with bias and the given kernel, cast to its dtype."""
    weight, bias = kernel
    conv = copy.deepcopy(like)
    dtype = like.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype))
    conv.bias = nn.Parameter(bias.to(dtype))
    return conv
