"""YOLOv5's blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.csp import C3, SPPF, Bottleneck


@pytest.mark.parametrize(
    ("c_in", "c_out", "shortcut", "adds"),
    [(8, 8, True, True), (8, 8, False, False), (8, 16, True, False)],
)
def test_bottleneck_adds_where_it_can(c_in: int, c_out: int, shortcut: bool, adds: bool) -> None:
    block = Bottleneck(c_in, c_out, shortcut).eval()
    x = torch.rand(1, c_in, 5, 5)
    branch = block.cv2(block.cv1(x))
    torch.testing.assert_close(block(x), branch + x if adds else branch)
    assert block.cv1.conv.out_channels == c_out // 2


def test_c3_parts() -> None:
    block = C3(16, 32, repeats=3, shortcut=False, activation="ReLU").eval()
    assert len(block.m) == 3
    assert not any(b.add for b in block.m)  # type: ignore[union-attr]
    assert block.cv1.conv.out_channels == 16  # half of c_out
    assert not any(isinstance(module, nn.SiLU) for module in block.modules())
    x = torch.rand(1, 16, 5, 5)
    expected = block.cv3(torch.cat([block.m(block.cv1(x)), block.cv2(x)], 1))
    torch.testing.assert_close(block(x), expected)


def test_c3_params_by_hand() -> None:
    # c_in 16, c_out 32, hidden 16; a conv has c_in · c_out · k² weights and 2 · c_out of its norm.
    # cv1, cv2: 16 · 16 + 32; cv3: 32 · 32 + 64; bottleneck: 16 · 16 + 32 and 16 · 16 · 9 + 32.
    expected = 2 * (256 + 32) + (1024 + 64) + (256 + 32) + (2304 + 32)
    assert sum(p.numel() for p in C3(16, 32).parameters()) == expected


def test_sppf_sees_5_9_and_13_pixels() -> None:
    block = SPPF(16, 24).eval()
    x = torch.rand(1, 16, 20, 20)
    first = block.cv1(x)
    pools = [nn.functional.max_pool2d(first, k, 1, k // 2) for k in (5, 9, 13)]
    torch.testing.assert_close(block(x), block.cv2(torch.cat([first, *pools], 1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: C3(8, 8, expansion=0.1), "'expansion': 0.1 of 8 channels leaves none$"),
        (lambda: Bottleneck(8, 4, expansion=0.2), "'expansion': 0.2 of 4 channels leaves none$"),
        (lambda: SPPF(8, 8, 4), "'kernel': expected an odd number, found 4$"),
        (lambda: SPPF(1, 8), "'expansion': 0.5 of 1 channels leaves none$"),
    ],
)
def test_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
