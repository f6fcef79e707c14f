"""Arithmetic of fusing: a batch norm into a convolution, parallel branches into one kernel.

RepVGG (arXiv 2101.03697, section 3.3). Everything is computed in float64 and cast last.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = tuple[Tensor, Tensor]
"""Weight of a convolution, (c_out, c_in / groups, k, k), and its bias, (c_out,), in float64."""


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Kernel:
    """Return W′ = γ/√(σ²+ε) · W and b′ = β + (b − μ) · γ/√(σ²+ε)."""
    scale, shift = norm_scale_shift(norm)
    weight = conv.weight.detach().double() * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else shift + conv.bias.detach().double() * scale
    return weight, bias


def norm_scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm in eval mode, x · scale + shift; (c,), float64."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    deviation = (norm.running_var.detach().double() + norm.eps).sqrt()
    gamma = 1.0 if norm.weight is None else norm.weight.detach().double()
    beta = 0.0 if norm.bias is None else norm.bias.detach().double()
    scale = gamma / deviation
    return scale, beta - norm.running_mean.detach().double() * scale


def identity_kernel(channels: int, groups: int, size: int) -> Tensor:
    """Return the kernel that copies its input, float64.

    Its element [i, i mod (channels / groups), centre, centre] is 1 for every channel i, all others
    are 0.
    """
    kernel = torch.zeros(channels, channels // groups, size, size, dtype=torch.float64)
    index = torch.arange(channels)
    kernel[index, index % (channels // groups), size // 2, size // 2] = 1
    return kernel


def pad_kernel(weight: Tensor, size: int, at: int | None = None) -> Tensor:
    """Pad a kernel with zeros to ``size``, placing it at the centre or at offset ``at``."""
    free = size - weight.shape[-1]
    before = free // 2 if at is None else at
    return F.pad(weight, [before, free - before] * 2)


def plain_conv(like: nn.Conv2d, kernel: Kernel) -> nn.Conv2d:
    """Return a copy of ``like`` with the given weight and bias, cast to its dtype."""
    weight, bias = kernel
    conv = copy.deepcopy(like)
    dtype = like.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype))
    conv.bias = nn.Parameter(bias.to(dtype))
    return conv
