"""Slim-neck's blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.gsconv import GSBottleneck, GSConv, VoVGSCSP
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy


def test_gsconv_by_definition() -> None:
    block = GSConv(8, 12, 3, 2, activation="ReLU").eval()
    x = torch.randn(2, 8, 8, 8)
    dense = block.cv1(x)
    depthwise = nn.functional.conv2d(dense, block.cv2.conv.weight, padding=2, groups=6)
    both = torch.cat([dense, torch.relu(block.cv2.bn(depthwise))], 1)
    order = [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]
    torch.testing.assert_close(block(x), both[:, order])
    # 8 · 6 · 9 and 6 · 25 weights, two norms of 6
    assert sum(p.numel() for p in block.parameters()) == 432 + 150 + 24


def test_stack_by_definition() -> None:
    block = VoVGSCSP(16, 24, repeats=2, shortcut=False).eval()
    randomise_batch_norms(block)
    x = torch.randn(1, 16, 5, 5)
    path = block.cv1(x)
    for one in block.m:  # type: ignore[union-attr]
        path = one.cv2(one.cv1(path)) + one.shortcut(path)
    torch.testing.assert_close(block(x), block.cv3(torch.cat([block.cv2(x), path], 1)))


@pytest.mark.parametrize(
    "block", [GSConv(8, 12, 3), GSBottleneck(8), VoVGSCSP(8, 16, 2)], ids=lambda b: type(b).__name__
)
def test_fuses(block: nn.Module) -> None:
    block = block.double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 8, 6, dtype=torch.float64)
    expected, fused = block(x), fused_copy(block)
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
