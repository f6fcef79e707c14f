"""YOLOv7's head: its outputs, its fused form, its deployment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detector.engine.tasks import task_of
from detector.heads.implicit import IDetect, ImplicitConv
from detector.heads.yolo import Detect
from detector.model.deploy import deploy
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile

ANCHORS = [[12.0, 16, 19, 36, 40, 28], [36.0, 75, 76, 55, 72, 146]]


def head(nc: int = 2) -> IDetect:
    return IDetect(nc, ANCHORS, c_in=(4, 8), strides=(8, 16))


def strong(conv: ImplicitConv) -> ImplicitConv:
    """Set learned vectors that are far from 0 and 1."""
    nn.init.normal_(conv.added)
    nn.init.uniform_(conv.factor, -2, 2)
    return conv


@torch.no_grad()
def test_convolution_by_hand() -> None:
    conv = ImplicitConv(2, 1)
    conv.weight.copy_(torch.tensor([3.0, 5.0]).view(1, 2, 1, 1))
    conv.bias.fill_(7)  # type: ignore[union-attr]
    conv.added.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1))
    conv.factor.fill_(2)
    x = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)
    # 2 · (3 · (10 + 1) + 5 · (20 − 1) + 7) = 2 · 135
    assert conv(x).item() == 270
    fused = conv.fuse()
    # W′ = 6, 10; b′ = 2 · (7 + 3 − 5)
    assert fused.weight.flatten().tolist() == [6, 10]
    assert fused.bias is not None and fused.bias.tolist() == [10]
    assert fused(x).item() == 270


@torch.no_grad()
def test_fused_convolution_is_plain_and_equal() -> None:
    conv = strong(ImplicitConv(16, 21)).double()
    x = torch.randn(2, 16, 5, 3, dtype=torch.float64)
    fused = conv.fuse()
    assert type(fused) is nn.Conv2d
    assert (fused(x) - conv(x)).abs().max() / conv(x).abs().max() <= 1e-10
    assert sum(p.numel() for p in conv.parameters()) == 16 * 21 + 21 + 16 + 21
    assert sum(p.numel() for p in fused.parameters()) == 16 * 21 + 21


def test_values_start_small_and_near_one() -> None:
    torch.manual_seed(0)
    conv = ImplicitConv(10_000, 2_000)
    added, factor = conv.added.detach(), conv.factor.detach()
    assert float(added.mean()) == pytest.approx(0, abs=1e-3)
    assert float(added.std()) == pytest.approx(0.02, rel=0.03)
    assert float(factor.mean()) == pytest.approx(1, abs=2e-3)
    assert float(factor.std()) == pytest.approx(0.02, rel=0.05)


def test_raw_outputs_are_laid_out_as_detects() -> None:
    ours = head()
    plain = Detect(2, ANCHORS, c_in=(4, 8), strides=(8, 16))
    for level, conv in enumerate(ours.m):
        plain.m[level] = conv
    features: list[Tensor] = [torch.rand(1, 4, 8, 6), torch.rand(1, 8, 4, 3)]
    for mine, expected in zip(ours(features), plain(features), strict=True):
        assert mine.shape[1::3] == (3, 7)
        assert mine.equal(expected)
    for mine, expected in zip(
        ours.decode(ours(features)), plain.decode(plain(features)), strict=True
    ):
        assert mine.equal(expected)


def test_biases_start_as_detects() -> None:
    """Biases start as Detect's: 8 objects in an image of 640 pixels, 0.6 shared by the classes."""
    torch.manual_seed(0)
    averages = [
        conv.bias.detach().view(3, 7).mean(0)
        for conv in IDetect(2, ANCHORS, (1024,) * 2, (8, 16)).m
    ]
    for bias, stride in zip(averages, (8, 16), strict=True):
        assert float(bias[4].exp()) == pytest.approx(8 / (640 / stride) ** 2, rel=0.1)
        assert float(bias[5].exp()) == pytest.approx(0.6 / (2 - 0.99999), rel=0.1)


@pytest.mark.parametrize(
    ("nc", "anchors", "message"),
    [
        (0, ANCHORS, "^argument 'nc': expected at least 1 class, found 0$"),
        (1, ANCHORS[:1], "^anchors: expected 2 levels, found 1$"),
    ],
)
def test_refused(nc: int, anchors: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IDetect(nc, anchors, c_in=(4, 8), strides=(8, 16))


MODEL = """
nc: 2
anchors: [[12, 16, 19, 36], [36, 75, 76, 55]]
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, RepConv, [16, 3, 2]]
head:
  - [[0, 1], 1, IDetect, [nc, anchors]]
"""


def model() -> Detector:
    network = build_model_file(check_model_file(YamlFile(Path("a.yaml"), MODEL)))
    for conv in network.head.m:  # type: ignore[union-attr]
        strong(conv)
    return network


def test_deployed_head_decodes_the_same() -> None:
    network = model()
    fused, report = deploy(network)
    assert report.difference_fp64 <= 1e-10
    assert report.difference_fp32 <= 1e-4
    assert report.fused_blocks == 2 + 2
    assert [type(conv) for conv in fused.head.m] == [nn.Conv2d] * 2  # type: ignore[union-attr]
    assert fused.head.nc == 2
    assert fused.head.strides == network.head.strides == (4, 8)
    assert fused.head.anchors_wh.equal(network.head.anchors_wh)  # type: ignore[operator]
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        found = fused.decode(fused(images))
        expected = network.eval().decode(network(images))
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-4)
    again, _ = deploy(fused)
    assert all(again.state_dict()[name].equal(value) for name, value in fused.state_dict().items())


def test_its_task_is_detects() -> None:
    network = model()
    assert task_of(type(network.head)) is task_of(type(deploy(network)[0].head))
    assert task_of(type(network.head)).name == "detect"


def test_every_parameter_gets_a_gradient() -> None:
    network = model()
    raw_outputs = network(torch.rand(2, 3, 32, 32))
    sum((raw * torch.rand_like(raw)).sum() for raw in raw_outputs).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
