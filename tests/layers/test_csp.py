"""YOLOv5's blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.csp import C3, SPPF, Bottleneck, BottleneckCSP
from detector.layers.repvgg import randomise_batch_norms


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


def test_bottleneck_csp_by_definition() -> None:
    block = BottleneckCSP(16, 32, repeats=2, shortcut=False, activation="ReLU").eval()
    randomise_batch_norms(block)
    assert len(block.m) == 2
    assert not any(b.add for b in block.m)
    x = torch.randn(1, 16, 5, 5)
    deep = nn.functional.conv2d(block.m(block.cv1(x)), block.cv3.weight)
    paths = block.bn(torch.cat([deep, nn.functional.conv2d(x, block.cv2.weight)], 1))
    torch.testing.assert_close(block(x), block.cv4(torch.relu(paths)))
    assert (block.bn.eps, block.bn.momentum) == (1e-3, 0.03)


def test_bottleneck_csp_has_yolov5s_params() -> None:
    # c_in 512, hidden 128: cv1 512 · 128 + 256, cv2 512 · 128, cv3 128², norm 512, cv4 256² + 512,
    # bottleneck 128² + 256 and 128² · 9 + 256; row 13 of YOLOv5s 3.0, as its training log says
    block = BottleneckCSP(512, 256, 1, False)
    assert sum(p.numel() for p in block.parameters()) == 378_624


@pytest.mark.parametrize("repeats", [1, 2])
def test_bottleneck_csp_fuses(repeats: int) -> None:
    block = BottleneckCSP(8, 16, repeats, activation="nn.LeakyReLU(0.1)").double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 6, 7, dtype=torch.float64)
    expected = block(x)
    fused = block.fuse()
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not any(hasattr(module, "fuse") for module in fused.modules())
    torch.testing.assert_close(block(x), expected, rtol=0, atol=0)  # it stays as it is
    # Fusing turns each norm's two vectors into one bias; cv1, cv4 and all in between have one.
    norms = sum(m.num_features for m in block.modules() if isinstance(m, nn.BatchNorm2d))
    before, after = (sum(p.numel() for p in b.parameters()) for b in (block, fused))
    assert before - after == norms


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
        (lambda: SPPF(1, 8), "'expansion': 0.5 of 1 channels leaves none$"),
    ],
)
def test_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_a_separable_conv_has_its_own_groups() -> None:
    with pytest.raises(ValueError, match="^argument 'groups': a separable conv has its own"):
        Bottleneck(8, 8, groups=2, separable=True)
