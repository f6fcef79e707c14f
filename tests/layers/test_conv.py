"""Conv and its fused form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.layers.conv import Conv, Conv2d, FusedConv, same_padding
from detector.layers.repvgg import randomise_batch_norms


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding"), [(1, 1, 0), (3, 1, 1), (5, 1, 2), (3, 2, 2), (6, 1, 2)]
)
def test_same_padding(kernel: int, dilation: int, padding: int) -> None:
    assert same_padding(kernel, dilation) == padding


def test_is_yolov5s_block() -> None:
    conv = Conv(3, 8, 3, 2)
    x = torch.rand(2, 3, 9, 9)
    expected = nn.functional.silu(conv.bn(conv.conv(x)))
    torch.testing.assert_close(conv.train()(x), expected)
    assert (conv.bn.eps, conv.bn.momentum, conv.conv.bias) == (1e-3, 0.03, None)
    assert conv(x).shape == (2, 8, 5, 5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 3, 6])
def test_fuse(kernel: int, groups: int, stride: int) -> None:
    conv = (
        Conv(8, 16, kernel, stride, groups=groups, activation="nn.LeakyReLU(0.1)").double().eval()
    )
    randomise_batch_norms(conv)
    x = torch.rand(2, 8, 12, 10, dtype=torch.float64)
    expected = conv(x)
    fused = conv.fuse()
    assert isinstance(fused, FusedConv)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=0)  # it stays as it is


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="^argument 'groups': 3 does not divide 6 → 8 channels$"):
        Conv(6, 8, groups=3)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (2, 3), (3, 1)])
def test_strided_pointwise_is_torchs(stride: int, groups: int, channels_last: bool) -> None:
    ours = Conv2d(3, 6, 1, stride, groups=groups)
    theirs = nn.Conv2d(3, 6, 1, stride, groups=groups)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 11, 8, requires_grad=True)
    same = x.detach().clone().requires_grad_()
    order = torch.channels_last if channels_last else torch.contiguous_format
    found = ours(x.contiguous(memory_format=order))
    expected = theirs(same)  # never channels-last: that is what writes past its buffer
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    assert ours.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_gradients_before_a_strided_pointwise_stay_channels_last() -> None:
    image = torch.rand(2, 8, 7, 6).to(memory_format=torch.channels_last).requires_grad_()
    features = image * 2
    formats = []
    features.register_hook(
        lambda gradient: formats.append(gradient.is_contiguous(memory_format=torch.channels_last))
    )
    Conv2d(8, 4, 1, 2)(features).sum().backward()
    assert formats == [True]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "pads"),
    [
        (8, 3, 2, (0, 1)),  # 4 windows of 3, 2 apart: 9 pixels
        (7, 3, 2, (1, 1)),  # 4 windows: 9 pixels, 2 more than there are
        (8, 3, 1, (1, 1)),
        (8, 1, 2, (0, 0)),
        (9, 5, 3, (1, 1)),  # 3 windows of 5, 3 apart: 11 pixels
        (8, 7, 2, (2, 3)),  # 4 windows of 7, 2 apart: 13 pixels
    ],
)
def test_tensorflow_s_same_padding(side: int, kernel: int, stride: int, pads: tuple[int, int]):
    conv = Conv(2, 2, kernel, stride, padding_mode="same").conv
    x = torch.randn(1, 2, side, side)
    padded = F.pad(x, (*pads, *pads))
    expected = F.conv2d(padded, conv.weight, stride=stride)
    assert expected.shape[-1] == -(-side // stride)
    torch.testing.assert_close(conv(x), expected)
