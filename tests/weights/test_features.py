"""Backbones for other programs: levels, norms, start weights, deployed form, torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

import detector
from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import build
from detector.model.features import FrozenBatchNorm2d
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import save_weights

LEVELS = ["P2", "P3", "P4", "P5"]


def test_levels_are_rows_of_the_network() -> None:
    backbone = detector.features("vovnet", "27-slim", out=LEVELS).eval()
    assert backbone.out_channels == (128, 256, 384, 512)
    assert backbone.strides == (4, 8, 16, 32)
    images = torch.rand(1, 3, 64, 96)
    found = backbone(images)
    assert list(found) == LEVELS
    assert [tuple(one.shape[1:]) for one in found.values()] == [
        (128, 16, 24),
        (256, 8, 12),
        (384, 4, 6),
        (512, 2, 3),
    ]
    x: Tensor = images
    for index, row in enumerate(backbone.rows):
        x = row(x)
        if index == 5:
            assert found["P3"].equal(x)


def test_rows_behind_the_last_level_are_left_out() -> None:
    assert len(detector.features("vovnet", "27-slim", out=["P3"]).rows) == 6
    single = detector.features("peleenet", out=["P4", "P5"])
    assert single.out_channels == (512, 704)


def test_timm() -> None:
    pytest.importorskip("timm")
    backbone = detector.features("yolov5_timm", "resnet50", out=["P3", "P5"])
    assert backbone.out_channels == (512, 2048)
    assert list(backbone.eval()(torch.rand(1, 3, 64, 64))) == ["P3", "P5"]


def test_start_weights(tmp_path: Path) -> None:
    model = build("vovnet", 3, "27-slim")
    randomise_batch_norms(model)
    save_weights(tmp_path / "a.safetensors", model)
    backbone = detector.features(
        "vovnet", "27-slim", out=["P5"], weights=tmp_path / "a.safetensors", norm="frozen"
    )
    norms = [one for one in backbone.modules() if isinstance(one, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(one, FrozenBatchNorm2d) for one in norms)
    images = torch.rand(1, 3, 64, 64)
    x: Tensor = images
    for row in list(model.eval().rows)[:-1]:
        x = row(x)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    found = backbone.train()(images)["P5"]  # batch norms stay in evaluation mode
    torch.testing.assert_close(found, x)
    assert all(tensor.equal(before[name]) for name, tensor in backbone.state_dict().items())
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())


def test_group_norms() -> None:
    backbone = detector.features("vovnet", "27-slim", out=["P5"], norm="group")
    norms = [one for one in backbone.modules() if isinstance(one, nn.GroupNorm)]
    assert not any(isinstance(one, nn.BatchNorm2d) for one in backbone.modules())
    # 64 and 128 channels have 32 groups, 80 and 112 have gcd(32, c) = 16
    groups = {(one.num_channels, one.num_groups) for one in norms}
    assert {(64, 32), (128, 32), (80, 16), (112, 16)} <= groups
    images = torch.rand(2, 3, 64, 64)
    both = backbone.train()(images)["P5"]
    torch.testing.assert_close(both[:1], backbone(images[:1])["P5"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_deployed(norm: Any) -> None:
    backbone = detector.features("vovnet", "27-slim", out=["P3", "P4"], norm=norm)
    randomise_batch_norms(backbone)
    fused = backbone.deploy()
    assert fused.deployed
    assert not any(isinstance(one, nn.BatchNorm2d) for one in fused.modules())
    assert any(isinstance(one, nn.GroupNorm) for one in fused.modules()) == (norm == "group")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = backbone.eval()(images), fused(images)
    for level, one in expected.items():
        assert (found[level] - one).abs().max() <= 1e-4 * one.abs().max()


def test_a_detector_of_torchvision() -> None:
    """One step: the loss is finite, and each parameter of the backbone has a gradient."""
    torch.manual_seed(0)
    body = detector.features("vovnet", "27-slim", out=["P4", "P5"], norm="group")
    pyramid = nn.Sequential(body, FeaturePyramidNetwork(list(body.out_channels), 16))
    pyramid.out_channels = 16  # type: ignore[assignment]
    network = FasterRCNN(
        pyramid,
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(((16,), (32,)), ((0.5, 1, 2),) * 2),
        box_roi_pool=MultiScaleRoIAlign(["P4", "P5"], 7, 2),
        min_size=64,
        max_size=64,
    )
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    losses = network.train()([torch.rand(3, 64, 64)], [target])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert [name for name, p in body.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": ["P9"]}, "out: no level 'P9', expected some of P1, P2, P3, P4, P5"),
        ({"out": []}, "out: expected rising levels such as P3, P4; found []"),
        (
            {"out": ["P4", "P3"]},
            "out: expected rising levels such as P3, P4; found ['P4', 'P3']",
        ),
        ({"norm": "grup"}, "norm: unknown 'grup'; did you mean 'group'?"),
        (
            {"norm": "group", "weights": "a.pth"},
            "norm: weights are trained with batch norms, expected 'batch' or 'frozen', "
            "found 'group'",
        ),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        detector.features("vovnet", "27-slim", **arguments)
    assert str(caught.value) == message
