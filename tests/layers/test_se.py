"""Channel attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.se import ESEBlock, SEBlock


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 7), (8, 12)])
def test_se_by_definition(size_hw: tuple[int, int]) -> None:
    block = SEBlock(32, ratio=4)
    x = torch.rand(2, 32, *size_hw)
    squeezed = nn.functional.adaptive_avg_pool2d(x, 1)
    expected = x * torch.sigmoid(block.up(torch.relu(block.down(squeezed))))
    torch.testing.assert_close(block(x), expected)
    assert block.down.out_channels == 8


def test_se_keeps_a_channel_of_few() -> None:
    assert SEBlock(8, ratio=16).down.out_channels == 1


def test_ese_by_definition() -> None:
    block = ESEBlock(8)
    x = torch.rand(2, 8, 5, 3)
    gate = block.fc(nn.functional.adaptive_avg_pool2d(x, 1))
    torch.testing.assert_close(block(x), x * (torch.clamp(gate + 3, 0, 6) / 6))
    assert sum(p.numel() for p in block.parameters()) == 8 * 8 + 8
