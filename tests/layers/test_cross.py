"""Convolutions by row and by column."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.cross import C3x, CrossConv, StripConv
from detector.layers.repvgg import randomise_batch_norms


def test_a_row_times_a_column_is_a_square_kernel() -> None:
    """Without norm and activation in between, 1×3 then 3×1 is the 3×3 kernel of their products."""
    block = CrossConv(1, 1, 3, activation=False).double().eval()
    for conv in (block.cv1, block.cv2):
        conv.bn = nn.Identity()  # type: ignore[assignment]
    row, column = block.cv1.conv.weight.flatten(), block.cv2.conv.weight.flatten()
    x = torch.randn(1, 1, 6, 5, dtype=torch.float64)
    square = torch.outer(column, row).view(1, 1, 3, 3)
    torch.testing.assert_close(block(x), nn.functional.conv2d(x, square, padding=1))


def test_stride_first_across_then_down() -> None:
    block = CrossConv(4, 8, 5, 2)
    x = torch.randn(1, 4, 8, 12)
    assert block.cv1(x).shape == (1, 8, 8, 6)
    assert block(x).shape == (1, 8, 4, 6)
    assert block.cv1.conv.kernel_size == (1, 5)
    assert block.cv2.conv.kernel_size == (5, 1)


@pytest.mark.parametrize(
    ("c_out", "stride", "shortcut", "adds"),
    [(8, 1, True, True), (8, 1, False, False), (16, 1, True, False), (8, 2, True, False)],
)
def test_shortcut(c_out: int, stride: int, shortcut: bool, adds: bool) -> None:
    block = CrossConv(8, c_out, stride=stride, shortcut=shortcut).eval()
    x = torch.randn(1, 8, 4, 4)
    branch = block.cv2(block.cv1(x))
    torch.testing.assert_close(block(x), x + branch if adds else branch)


def test_groups_and_expansion_are_the_second_convolutions() -> None:
    block = CrossConv(8, 16, 3, 1, 4, 0.5)
    assert (block.cv1.conv.groups, block.cv2.conv.groups) == (1, 4)
    assert block.cv1.conv.out_channels == 8
    # 8 · 8 · 3 and 8 · 16 / 4 · 3 weights, norms of 8 and 16
    assert sum(p.numel() for p in block.parameters()) == 192 + 96 + 16 + 32


def test_strip_fuses_as_conv_does() -> None:
    block = StripConv(4, 8, (1, 5), (1, 2), 2).double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    expected = block(x)
    assert (block.fuse()(x) - expected).abs().max() / expected.abs().max() <= 1e-10


def test_c3x_by_definition() -> None:
    block = C3x(8, 16, repeats=2, groups=2).eval()
    x = torch.randn(1, 8, 5, 5)
    first = block.cv1(x)
    for cross in block.m:
        assert cross.add and cross.cv2.conv.groups == 2
        first = cross(first)
    torch.testing.assert_close(block(x), block.cv3(torch.cat([first, block.cv2(x)], 1)))
    assert not any(cross.add for cross in C3x(8, 16, shortcut=False).m)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CrossConv(8, 8, groups=3),
            "^argument 'groups': 3 does not divide 8 → 8 channels$",
        ),
        (lambda: CrossConv(8, 8, expansion=0.1), "'expansion': 0.1 of 8 channels leaves none$"),
    ],
)
def test_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
