"""VGG's convolution and SSD's norm against written-out arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.layers.conv import Conv2d
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.vgg import ConvAct, ConvNormAct, L2Norm


def test_conv_act_is_a_convolution_with_bias_and_relu():
    block = ConvAct(3, 8, kernel=3, stride=2)
    x = torch.randn(2, 3, 9, 9)
    expected = F.relu(F.conv2d(x, block.conv.weight, block.conv.bias, stride=2, padding=1))
    assert torch.equal(block(x), expected)
    assert [type(module) for module in block.children()] == [Conv2d, nn.Identity, nn.ReLU]


def test_conv_norm_act_fuses():
    block = ConvNormAct(4, 8, kernel=3, stride=2).double().eval()
    randomise_batch_norms(block)
    x = torch.randn(1, 4, 9, 9, dtype=torch.float64)
    expected = F.relu(block.bn(block.conv(x)))
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(block.fuse()(x), expected)


def test_dilated_conv6_keeps_the_size():
    """3×3 with dilation 6 sees 13 pixels; padding 6 keeps 19."""
    block = ConvAct(4, 8, kernel=3, dilation=6)
    assert block.conv.padding == (6, 6)
    assert block(torch.randn(1, 4, 19, 19)).shape == (1, 8, 19, 19)


@pytest.mark.parametrize(("padding", "side"), [(None, 5), (0, 3), (1, 5)])
def test_padding(padding: int | None, side: int):
    assert ConvAct(2, 2, 3, padding=padding)(torch.randn(1, 2, 5, 5)).shape[-1] == side


def test_weights_start_as_he_et_al_draw_them():
    torch.manual_seed(0)
    conv = ConvAct(64, 256, 3).conv
    # σ = √(2 / fan-in) = √(2 / (64 · 9)) = 0.0589
    assert float(conv.weight.detach().std()) == pytest.approx(0.0589, rel=0.01)
    assert not conv.bias.any()


def test_groups_must_divide():
    with pytest.raises(ValueError, match="argument 'groups': 3 does not divide 4 → 6 channels"):
        ConvAct(4, 6, groups=3)


def test_l2norm_against_float64():
    norm = L2Norm(512)
    assert sum(p.numel() for p in norm.parameters()) == 512
    x = torch.randn(2, 512, 5, 7)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(512) * 30)
    wide = x.double()
    expected = wide / wide.square().sum(1, keepdim=True).sqrt()
    expected = expected * norm.weight.detach().double().view(-1, 1, 1)
    assert float((norm(x).double() - expected).abs().max()) < 1e-5


def test_l2norm_starts_with_vectors_of_length_20_and_learns():
    norm = L2Norm(512)
    x = torch.randn(1, 512, 3, 3).requires_grad_()
    out = norm(x)
    lengths = out.norm(dim=1)
    assert float((lengths - 20).abs().max()) < 1e-4
    (out * torch.rand_like(out)).sum().backward()
    assert norm.weight.grad is not None
    assert torch.all(norm.weight.grad != 0)
    assert x.grad is not None
    assert x.grad.any()


def test_l2norm_of_nothing_is_nothing():
    assert not L2Norm(4)(torch.zeros(1, 4, 2, 2)).any()
