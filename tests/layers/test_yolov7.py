"""YOLOv7's blocks, and the published networks made of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.heads.implicit import IDetect
from detector.layers.conv import FusedConv
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.yolov7 import MP, SP, DownC, RepConv, Shortcut
from detector.model.deploy import fuse_modules
from detector.model.detector import build


def test_max_pools() -> None:
    x = torch.randn(1, 3, 12, 6)
    assert MP()(x).equal(x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)))
    assert MP(3)(x).equal(x.unfold(2, 3, 3).unfold(3, 3, 3).amax((4, 5)))
    assert SP(5)(x).equal(nn.functional.max_pool2d(x, 5, 1, 2))
    assert SP(3, 2)(x).shape == (1, 3, 6, 3)


@pytest.mark.parametrize("stride", [2, 3])
def test_downsampling_of_two_paths(stride: int) -> None:
    block = DownC(8, 24, stride).eval()
    x = torch.randn(2, 8, 12, 6)
    pooled = x.unfold(2, stride, stride).unfold(3, stride, stride).amax((4, 5))
    expected = torch.cat([block.cv2(block.cv1(x)), block.cv3(pooled)], 1)
    torch.testing.assert_close(block(x), expected)
    assert expected.shape == (2, 24, 12 // stride, 6 // stride)
    # 8 → 8 and 8 → 12 of 1×1, 8 → 12 of 3×3, and their norms
    assert sum(p.numel() for p in block.parameters()) == 64 + 96 + 864 + 2 * (8 + 12 + 12)


def test_shortcut_adds() -> None:
    x, y, z = torch.randn(3, 2, 8, 4, 4)
    assert Shortcut([8, 8], 1)([x, y]).equal(x + y)
    assert Shortcut([8, 8, 8])([x, y, z]).equal(x + y + z)
    with pytest.raises(
        ValueError, match=r"^adds features of one number of channels, found \[8, 4\]$"
    ):
        Shortcut([8, 4])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("c_out", "stride", "identity"), [(8, 1, True), (8, 2, False), (16, 1, False)]
)
def test_repconv(c_out: int, stride: int, identity: bool, groups: int) -> None:
    block = RepConv(8, c_out, 3, stride, 1, groups, "nn.LeakyReLU(0.1)").double().eval()
    randomise_batch_norms(block)
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 2 + identity
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    conv, norm = nn.functional.conv2d, nn.functional.batch_norm
    branches = [(conv(x, block.conv.weight, None, stride, 1, 1, groups), block.bn)]
    branches += [(conv(x, block.pointwise.weight, None, stride, 0, 1, groups), block.pointwise_bn)]
    branches += [(x, block.identity_bn)] if identity else []
    total = sum(
        norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-3) for y, bn in branches
    )
    expected = nn.functional.leaky_relu(total, 0.1)
    torch.testing.assert_close(block(x), expected)
    fused = block.fuse()
    assert isinstance(fused, FusedConv)
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10


def test_repconv_refuses_other_padding() -> None:
    with pytest.raises(ValueError, match="'padding': the branches fit only with 1 here, found 0$"):
        RepConv(8, 8, 3, 1, 0)


@pytest.mark.parametrize(
    ("name", "train", "deployed"),
    [("yolov7", 37_622_682, 36_905_341), ("yolov7_tiny", 6_228_762, 6_219_709)],
)
def test_published_params(name: str, train: int, deployed: int) -> None:
    model = build(name)
    assert sum(p.numel() for p in model.parameters()) == train
    fused = fuse_modules(model)
    assert sum(p.numel() for p in fused.parameters()) == deployed
    assert isinstance(fused.head, IDetect)


def test_activations_of_yolov7_tiny() -> None:
    acts = [m for m in build("yolov7_tiny", 1).modules() if "LU" in type(m).__name__]
    assert {(type(act), act.negative_slope) for act in acts} == {(nn.LeakyReLU, 0.1)}
    # stem 2, four blocks of 5, pyramid 4; neck: twice up 2 + 5, twice down 1 + 5; 3 before the head
    assert len(acts) == 2 + 4 * 5 + 4 + 2 * 7 + 2 * 6 + 3
