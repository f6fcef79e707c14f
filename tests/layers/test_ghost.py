"""GhostNet's blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.ghost import C3Ghost, GhostBottleneck, GhostConv


def params(block: nn.Module) -> int:
    return sum(p.numel() for p in block.parameters())


def test_ghost_conv_by_definition() -> None:
    block = GhostConv(8, 12, 3, 2, activation="ReLU").eval()
    x = torch.randn(2, 8, 8, 8)
    half = block.cv1(x)
    cheap = nn.functional.conv2d(half, block.cv2.conv.weight, padding=2, groups=6)
    expected = torch.cat([half, torch.relu(block.cv2.bn(cheap))], 1)
    torch.testing.assert_close(block(x), expected)
    assert block.cv1.conv.kernel_size == (3, 3)
    # 8 · 6 · 9 and 25 · 6 weights, two norms of 6
    assert params(block) == 432 + 150 + 2 * 12


@pytest.mark.parametrize("stride", [1, 2])
def test_ghost_bottleneck_by_definition(stride: int) -> None:
    block = GhostBottleneck(8, 8, 3, stride).eval()
    x = torch.randn(1, 8, 6, 6)
    out = x
    for part in block.conv:
        out = part(out)
    torch.testing.assert_close(block(x), out + block.shortcut(x))
    if stride == 1:
        assert block.shortcut(x) is x
        assert isinstance(block.conv[1], nn.Identity)
    else:
        depthwise, pointwise = block.shortcut  # type: ignore[misc]
        assert depthwise.conv.groups == block.conv[1].conv.groups * 2 == 8  # type: ignore[union-attr]
        assert pointwise.conv.kernel_size == (1, 1)
    acts = [type(m) for m in block.modules() if isinstance(m, nn.SiLU)]
    assert len(acts) == 2, "only the first ghost convolution has an activation"


def test_shortcut_fits_the_widths() -> None:
    block = GhostBottleneck(8, 16)
    assert block(torch.randn(1, 8, 4, 4)).shape == (1, 16, 4, 4)


def test_c3ghost_by_definition() -> None:
    block = C3Ghost(16, 32, repeats=2, shortcut=False).eval()
    x = torch.randn(1, 16, 5, 5)
    assert len(block.m) == 2
    expected = block.cv3(torch.cat([block.m(block.cv1(x)), block.cv2(x)], 1))
    torch.testing.assert_close(block(x), expected)


def test_c3ghost_params_by_hand() -> None:
    # C3's 1×1 convs: 2 · (128 · 64 + 128) + 128 · 128 + 256. A ghost bottleneck of 64 channels:
    # ghost conv 64 → 32: 64 · 16 + 32 and 25 · 16 + 32; 32 → 64: 32 · 32 + 64 and 25 · 32 + 64.
    bottleneck = (1024 + 32) + (400 + 32) + (1024 + 64) + (800 + 64)
    assert params(C3Ghost(128, 128, repeats=2)) == 2 * 8320 + 16640 + 2 * bottleneck == 40_160


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GhostConv(8, 7),
            "^argument 'c_out': expected an even number of channels, found 7$",
        ),
        (
            lambda: GhostBottleneck(8, 6),
            "^a ghost bottleneck makes a multiple of 4 channels, found 6$",
        ),
        (lambda: C3Ghost(8, 12), "^a ghost bottleneck makes a multiple of 4 channels, found 6$"),
    ],
)
def test_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
