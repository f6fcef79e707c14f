"""YOLOv6's blocks: their definitions, their fused forms, the rows of its body."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.layers.conv import YOLO_EPS
from detector.layers.repvgg import RepVGGBlock, randomise_batch_norms
from detector.layers.shared_norm import fused_copy
from detector.layers.yolov6 import BepC3, BiFusion, RepBlock, SimCSPSPPF, SimSPPF
from detector.model.deploy import deploy
from detector.model.detector import build
from detector.utils.errors import DetectorError


def randomised(block: nn.Module) -> nn.Module:
    randomise_batch_norms(block)
    for name, parameter in block.named_parameters():
        if name.endswith("alpha"):
            parameter.data.fill_(0.7)
    return block.double().eval()


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64)


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_rep_block() -> None:
    block = RepBlock(8, 16, 3)
    assert [type(module).__mro__[1] for module in block] == [RepVGGBlock] * 3
    shapes = [module.conv.weight.shape for module in block]
    assert shapes == [(16, 8, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3)]
    assert [module.identity_bn is not None for module in block] == [False, True, True]
    assert {m.eps for m in block.modules() if isinstance(m, nn.BatchNorm2d)} == {YOLO_EPS}


@pytest.mark.parametrize(("repeats", "pairs"), [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3), (11, 5)])
def test_pairs_of_bepc3(repeats: int, pairs: int) -> None:
    """Half of the repeats, as in the published m: 4, 7, 11 and 4 repeats, 2, 3, 5, 2 pairs."""
    assert len(BepC3(16, 24, repeats, 2 / 3).m) == pairs


@torch.no_grad()
def test_bepc3_by_definition() -> None:
    block = randomised(BepC3(6, 12, 2, expansion=0.5))
    x = random(1, 6, 5, 7)
    first = block.cv1(x)
    pair = block.m[0]
    deep = pair.conv2(pair.conv1(first)) + 0.7 * first
    expected = block.cv3(torch.cat((deep, block.cv2(x)), 1))
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_simcspsppf_by_definition() -> None:
    """Chained 5×5 pools are the pools of 5, 9 and 13; the path without pools comes first."""
    block: SimCSPSPPF = randomised(SimCSPSPPF(8, 12))
    x = random(2, 8, 16, 15)
    deep = block.cv4(block.cv3(block.cv1(x)))
    assert deep.shape[1] == 6
    pools = [F.max_pool2d(deep, k, 1, k // 2) for k in (5, 9, 13)]
    pooled = block.cv6(block.cv5(torch.cat((deep, *pools), 1)))
    expected = block.cv7(torch.cat((block.cv2(x), pooled), 1))
    torch.testing.assert_close(block(x), expected)
    assert {type(m.act) for m in block.modules() if hasattr(m, "act")} == {nn.ReLU}


def test_simsppf_has_relu() -> None:
    assert {type(m.act) for m in SimSPPF(8, 12).modules() if hasattr(m, "act")} == {nn.ReLU}


@torch.no_grad()
def test_bifusion_by_definition() -> None:
    block: BiFusion = randomised(BiFusion([4, 6, 8], 10))
    coarse, middle, fine = random(1, 4, 3, 4), random(1, 6, 6, 8), random(1, 8, 12, 16)
    parts = (
        F.conv_transpose2d(coarse, block.up.weight, block.up.bias, 2),
        block.middle(middle),
        block.down[1](block.down[0](fine)),
    )
    expected = block.out(torch.cat(parts, 1))
    assert expected.shape == (1, 10, 6, 8)
    torch.testing.assert_close(block([coarse, middle, fine]), expected)


@pytest.mark.parametrize(
    "block", [RepBlock(8, 8, 2), BepC3(8, 12, 4), SimCSPSPPF(8, 12), SimSPPF(8, 12)]
)
@torch.no_grad()
def test_fuse(block: nn.Module) -> None:
    block = randomised(block)
    fused = fused_copy(block)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    x = random(1, 8, 9, 12)
    expected, found = block(x), fused(x)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10


BODY = """\
nc: 2
imgsz: 64
activation: ReLU
anchors: [[10, 13], [30, 61], [60, 80]]
backbone:
  - [-1, 1, RepConv, [8, 3, 2]]
  - [-1, 1, RepConv, [16, 3, 2]]   # 1-P2/4
  - [-1, 1, RepConv, [16, 3, 2]]
  - [-1, 2, RepBlock, [24]]        # 3-P3/8
  - [-1, 1, RepConv, [32, 3, 2]]
  - [-1, 4, BepC3, [32, 0.5]]      # 5-P4/16
  - [-1, 1, RepConv, [48, 3, 2]]   # 6-P5/32
  - [-1, 1, SimCSPSPPF, [48]]
head:
  - [-1, 1, Conv, [16]]            # 8-P5/32
  - [[-1, 5, 3], 1, BiFusion, [16]]   # 9-P4/16
  - [[-1, 3, 1], 1, BiFusion, [16]]   # 10-P3/8
  - [[10, 9, 8], 1, Detect, [nc, anchors]]
"""


def test_a_body_of_these_rows(tmp_path: Path) -> None:
    path = tmp_path / "yolov6.yaml"
    path.write_text(BODY)
    model = build(str(path))
    assert model.strides == (8, 16, 32)
    assert [(row.channels, row.stride) for row in model.plan[8:11]] == [(16, 32), (16, 16), (16, 8)]
    randomise_batch_norms(model)
    _, report = deploy(model)
    assert report.difference_fp64 <= 1e-10


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[[-1, 5], 1, BiFusion, [16]]", "row 9 (BiFusion): reads 3 rows, found 'from' [-1, 5]"),
        ("[-1, 1, BiFusion, [16]]", "row 9 (BiFusion): reads 3 rows, found 'from' -1"),
        (
            "[[3, 5, 8], 1, BiFusion, [16]]",
            "row 9 (BiFusion): joins feature maps of strides 2 : 1 : 1/2: row 3 has stride 8, "
            "row 5 has stride 16, row 8 has stride 32",
        ),
        (
            "[[5, 5, 5], 1, BiFusion, [16]]",
            "row 9 (BiFusion): joins feature maps of strides 2 : 1 : 1/2: row 5 has stride 16, "
            "row 5 has stride 16, row 5 has stride 16",
        ),
    ],
)
def test_levels_that_bifusion_refuses(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "yolov6.yaml"
    path.write_text(BODY.replace("[[-1, 5, 3], 1, BiFusion, [16]]", row))
    with pytest.raises(DetectorError) as caught:
        build(str(path))
    assert str(caught.value) == f"{path}:16: {message}"


def test_published_parts_of_m() -> None:
    """CSPStackRep of stage 2 in m: 96 channels, 64 per path, 2 pairs; counted from the paper."""
    # 1×1 conv-BNs 96 → 64 twice and 128 → 96; pairs of 3×3 + 1×1 conv, three batch norms, and α
    blocks = 4 * (64 * 64 * 10 + 3 * 2 * 64) + 2
    pointwise = 2 * (96 * 64 + 2 * 64) + 128 * 96 + 2 * 96
    assert params(BepC3(96, 96, 4, 2 / 3)) == blocks + pointwise
