"""One batch norm over several convolutions: fused by hand, and against the form in training."""

from __future__ import annotations

import torch
from torch import nn

from detector.layers.conv import Conv, FusedConv
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import Joined, fold_shared_norm, fused_copy


def test_each_convolution_takes_its_own_channels_by_hand() -> None:
    norm = nn.BatchNorm2d(3, eps=0)
    norm.weight.data = torch.tensor([2.0, 3.0, 4.0])
    norm.bias.data = torch.tensor([1.0, 0.0, -1.0])
    norm.running_var = torch.tensor([4.0, 1.0, 1.0])
    norm.running_mean = torch.tensor([0.0, 1.0, 2.0])
    one, two = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 2, 1, bias=False)
    nn.init.constant_(one.weight, 5)
    nn.init.constant_(two.weight, 7)
    first, second = fold_shared_norm([one, two], norm)
    # γ / σ = 1, 3, 4; β − μ · γ / σ = 1, −3, −9
    assert first.weight.flatten().tolist() == [5]
    assert second.weight.flatten().tolist() == [21, 28]
    assert first.bias is not None and first.bias.tolist() == [1]
    assert second.bias is not None and second.bias.tolist() == [-3, -9]


def test_equals_the_norm_after_the_concatenation() -> None:
    convs = [nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.Conv2d(4, 2, 1, bias=False)]
    block = nn.Sequential(Joined(convs, nn.Identity()), nn.BatchNorm2d(8), nn.SiLU())
    block = block.double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    expected = nn.functional.silu(block[1](torch.cat([convs[0](x), convs[1](x)], 1)))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=0)
    found = Joined(fold_shared_norm(convs, block[1]), nn.SiLU())(x)  # type: ignore[arg-type]
    assert (found - expected).abs().max() / expected.abs().max() <= 1e-10


def test_fused_copy_reaches_the_inside_and_leaves_its_argument() -> None:
    block = nn.Sequential(nn.Sequential(Conv(3, 4, 3), nn.MaxPool2d(2)), Conv(4, 4)).double().eval()
    randomise_batch_norms(block)
    fused = fused_copy(block)
    assert [type(m) for m in fused.modules() if isinstance(m, (Conv, FusedConv))] == [FusedConv] * 2
    assert sum(isinstance(module, nn.BatchNorm2d) for module in block.modules()) == 2
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert (fused(x) - block(x)).abs().max() / block(x).abs().max() <= 1e-10
