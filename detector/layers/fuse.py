"""Arithmetic of fusing: a batch norm into a convolution, parallel branches into one kernel.

RepVGG (arXiv 2101.03697, section 3.3). Everything is computed in float64 and cast last.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

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


def fold_batch_norm_transposed(
    conv: nn.ConvTranspose2d, norm: nn.BatchNorm2d
) -> nn.ConvTranspose2d:
    """Return a transposed convolution with bias that computes ``conv`` and then ``norm``.

    Its weight is (c_in, c_out, k, k), for one group.
    """
    scale, shift = norm_scale_shift(norm)
    bias = 0.0 if conv.bias is None else conv.bias.detach().double()
    fused = copy.deepcopy(conv)
    dtype = conv.weight.dtype
    fused.weight = nn.Parameter((conv.weight.detach().double() * scale.view(-1, 1, 1)).to(dtype))
    fused.bias = nn.Parameter((bias * scale + shift).to(dtype))
    return fused


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


def norm_kernel(norm: nn.BatchNorm2d, groups: int = 1) -> Kernel:
    """Return the 1×1 kernel that computes a batch norm in eval mode: an identity branch."""
    scale, shift = norm_scale_shift(norm)
    eye = identity_kernel(norm.num_features, groups, 1).to(scale.device)
    return eye * scale.view(-1, 1, 1, 1), shift


def pad_kernel(weight: Tensor, size: int, at: int | None = None) -> Tensor:
    """Pad a kernel with zeros to ``size`` × ``size``, at the centre or at offset ``at``."""
    pads: list[int] = []
    for side in (weight.shape[-1], weight.shape[-2]):
        free = size - side
        before = free // 2 if at is None else at
        pads += [before, free - before]
    return F.pad(weight, pads)


def add_kernels(kernels: Sequence[Kernel], at: int | None = None) -> Kernel:
    """Return the kernel of the sum of parallel branches.

    The first kernel is the largest; the others are placed at its centre, or at offset ``at``.
    """
    weight, bias = kernels[0]
    for branch_weight, branch_bias in kernels[1:]:
        weight = weight + pad_kernel(branch_weight, weight.shape[-1], at)
        bias = bias + branch_bias
    return weight, bias


def chain_kernels(pointwise: Kernel, second: Kernel, groups: int = 1) -> Kernel:
    """Return the kernel of a 1×1 convolution with bias followed by a k×k one of as many groups.

    They are equal if the k×k convolution pads with the 1×1 convolution's bias, which is what the
    1×1 convolution makes of a padding with zeros (DBB, arXiv 2103.13425, section 3.2).
    """
    weight, bias = second
    size = weight.shape[-1]
    blocks = weight.view(groups, -1, weight.shape[1], size, size)
    mixing = pointwise[0].view(groups, blocks.shape[2], -1)
    merged = torch.einsum("gomhw,gmi->goihw", blocks, mixing).reshape(len(weight), -1, size, size)
    carried = torch.einsum("gomhw,gm->go", blocks, pointwise[1].view(groups, -1))
    return merged, bias + carried.flatten()


def plain_conv(like: nn.Conv2d, kernel: Kernel) -> nn.Conv2d:
    """Return a copy of ``like`` with the given weight and bias, cast to its dtype."""
    weight, bias = kernel
    conv = copy.deepcopy(like)
    dtype = like.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype))
    conv.bias = nn.Parameter(bias.to(dtype))
    return conv


def depthwise_conv(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return the depthwise 1×1 convolution that computes a batch norm in eval mode."""
    c, (scale, shift) = norm.num_features, norm_scale_shift(norm)
    like = nn.Conv2d(c, c, 1, groups=c, device=scale.device, dtype=norm.weight.dtype)
    return plain_conv(like, (scale.view(-1, 1, 1, 1), shift))
