"""The arithmetic of fusing, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.fuse import (
    add_kernels,
    chain_kernels,
    fold_batch_norm,
    identity_kernel,
    norm_kernel,
    norm_scale_shift,
    pad_kernel,
    plain_conv,
)


def test_identity_kernel_of_groups() -> None:
    kernel = identity_kernel(channels=8, groups=2, size=3)
    assert kernel.shape == (8, 4, 3, 3)
    assert kernel.sum() == 8
    assert kernel.dtype == torch.float64
    assert [int(kernel[i, :, 1, 1].argmax()) for i in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize(("groups", "size"), [(1, 3), (2, 3), (4, 5), (8, 1)])
def test_identity_kernel_copies(groups: int, size: int) -> None:
    x = torch.rand(1, 8, 6, 6, dtype=torch.float64)
    kernel = identity_kernel(8, groups, size)
    found = nn.functional.conv2d(x, kernel, padding=size // 2, groups=groups)
    torch.testing.assert_close(found, x, rtol=0, atol=0)


def test_pad_kernel() -> None:
    padded = pad_kernel(torch.full((1, 1, 1, 1), 7.0), 3)
    assert padded[0, 0].tolist() == [[0, 0, 0], [0, 7, 0], [0, 0, 0]]
    kernel = torch.rand(2, 2, 3, 3)
    assert pad_kernel(kernel, 3).equal(kernel)


def test_scale_and_shift_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=1.0)
    norm.weight.data.fill_(6.0)
    norm.bias.data.fill_(5.0)
    norm.running_mean.fill_(2.0)  # type: ignore[union-attr]
    norm.running_var.fill_(8.0)  # type: ignore[union-attr]
    # γ / √(σ² + ε) = 6 / 3 = 2, β − μ · 2 = 5 − 4 = 1
    scale, shift = norm_scale_shift(norm)
    assert (scale.item(), shift.item()) == (2, 1)
    conv = nn.Conv2d(1, 1, 1)
    conv.weight.data.fill_(3.0)
    assert conv.bias is not None
    conv.bias.data.fill_(10.0)
    weight, bias = fold_batch_norm(conv, norm)
    assert (weight.item(), bias.item()) == (6, 21)  # 2 · 3, 1 + 2 · 10
    assert weight.dtype == bias.dtype == torch.float64


def test_norm_without_weight_and_without_statistics() -> None:
    scale, shift = norm_scale_shift(nn.BatchNorm2d(2, affine=False, eps=0))
    assert (scale.tolist(), shift.tolist()) == ([1, 1], [0, 0])
    with pytest.raises(
        ValueError, match="^a batch norm without running statistics cannot be fused"
    ):
        norm_scale_shift(nn.BatchNorm2d(2, track_running_stats=False))


def test_plain_conv_keeps_shape_and_type() -> None:
    like = nn.Conv2d(4, 8, 3, 2, 2, 2, groups=2, bias=False, padding_mode="reflect").half()
    kernel = torch.rand(8, 2, 3, 3, dtype=torch.float64), torch.rand(8, dtype=torch.float64)
    made = plain_conv(like, kernel)
    for name in ("stride", "padding", "dilation", "groups", "padding_mode", "kernel_size"):
        assert getattr(made, name) == getattr(like, name)
    assert made.weight.dtype == torch.float16
    assert made.weight.equal(kernel[0].half())
    assert made.bias is not None
    assert made.weight.requires_grad


def test_pad_kernel_of_one_row() -> None:
    padded = pad_kernel(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 3)
    assert padded[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [0, 0, 0]]


def test_add_kernels_by_hand() -> None:
    square = torch.ones(1, 1, 3, 3), torch.tensor([1.0])
    point = torch.full((1, 1, 1, 1), 7.0), torch.tensor([10.0])
    weight, bias = add_kernels([square, point])
    assert weight[0, 0].tolist() == [[1, 1, 1], [1, 8, 1], [1, 1, 1]]
    assert bias.item() == 11
    assert add_kernels([square, point], at=0)[0][0, 0].tolist() == [[8, 1, 1], [1] * 3, [1] * 3]


def test_norm_kernel_by_hand() -> None:
    norm = nn.BatchNorm2d(2, eps=0)
    norm.weight.data.copy_(torch.tensor([3.0, 5.0]))
    norm.bias.data.copy_(torch.tensor([1.0, 2.0]))
    weight, bias = norm_kernel(norm)
    assert weight.flatten(1).tolist() == [[3, 0], [0, 5]]
    assert bias.tolist() == [1, 2]
    assert norm_kernel(norm, groups=2)[0].flatten().tolist() == [3, 5]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_chain_kernels(groups: int) -> None:
    """As both convolutions one after the other, inside the border."""
    first = nn.Conv2d(4, 8, 1, groups=groups).double()
    second = nn.Conv2d(8, 12, 3, groups=groups).double()
    assert first.bias is not None
    assert second.bias is not None
    weight, bias = chain_kernels((first.weight, first.bias), (second.weight, second.bias), groups)
    x = torch.rand(1, 4, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(
        nn.functional.conv2d(x, weight, bias, groups=groups), second(first(x))
    )
