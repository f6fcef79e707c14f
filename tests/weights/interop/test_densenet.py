"""DenseNet weights of torchvision and timm, and PeleeNet's: they compute the same here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import fuse_modules
from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.transfer import start_backbone_from, start_from, transfer

VARIANTS = ("121", "161", "169", "201")
IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 4 - 2


def torchvision_s(variant: str, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = getattr(models, f"densenet{variant}")(num_classes=classes)
    randomise_batch_norms(network)
    return network.eval()


@pytest.mark.parametrize(
    "variant", ["121", *(pytest.param(one, marks=pytest.mark.slow) for one in VARIANTS[1:])]
)
@torch.no_grad()
def test_torchvision(variant: str, difference, tmp_path: Path):
    theirs = torchvision_s(variant)
    torch.save(theirs.state_dict(), tmp_path / "densenet.pth")
    model = build("densenet", 10, variant).eval()
    report = start_from(model, tmp_path / "densenet.pth")
    assert (report.skipped, report.missing) == ({}, ())
    assert difference(model(IMAGES)["logits"], theirs(IMAGES)) <= 1e-5


@torch.no_grad()
def test_the_names_in_torchvision_s_files(difference):
    """The files of 2017 have a dot before the numbers in dense layers."""
    theirs = torchvision_s("121")
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): tensor
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    model = build("densenet", 10, "121").eval()
    assert transfer(model, state).skipped == {}
    assert difference(model(IMAGES)["logits"], theirs(IMAGES)) <= 1e-5


@torch.no_grad()
def test_timm(difference):
    theirs = timm.create_model("densenet121", pretrained=False, num_classes=10).eval()
    model = build("densenet", 10, "121").eval()
    report = transfer(model, theirs.state_dict())
    assert (report.skipped, report.missing) == ({}, ())
    assert difference(model(IMAGES)["logits"], theirs(IMAGES)) <= 1e-5


def test_another_depth():
    with pytest.raises(DetectorError) as caught:
        transfer(build("densenet", 10, "169"), torchvision_s("121").state_dict())
    # 1 stem, 58 dense layers, 3 transitions, 1 last norm; 169 has 82 dense layers
    assert str(caught.value) == "DenseNet weights: expected 87 blocks, found 63"


def test_a_deployed_network():
    with pytest.raises(DetectorError, match="DenseNet weights have batch norms, the network is"):
        transfer(fuse_modules(build("densenet", 10, "121")), torchvision_s("121").state_dict())


# ------------------------------------------------------------ PeleeNet, computed from its own names

PELEENET_LAYERS = (3, 4, 8, 6)


def peleenet_state(classes: int) -> dict[str, Tensor]:
    """Random weights with the names and shapes of Robert-JunWang/PeleeNet, peleenet.py."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def layer(name: str, c_in: int, c_out: int, kernel: int) -> int:
        weight = torch.randn(c_out, c_in, kernel, kernel, generator=generator)
        state[f"{name}.conv.weight"] = weight * (2 / (c_in * kernel**2)) ** 0.5
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5)):
            state[f"{name}.norm.{part}"] = low + torch.rand(c_out, generator=generator)
        state[f"{name}.norm.running_var"] = 0.5 + torch.rand(c_out, generator=generator)
        state[f"{name}.norm.num_batches_tracked"] = torch.tensor(7)
        return c_out

    for part, c_in, c_out, kernel in (
        ("stem1", 3, 32, 3),
        ("stem2a", 32, 16, 1),
        ("stem2b", 16, 32, 3),
        ("stem3", 64, 32, 1),
    ):
        layer(f"features.stemblock.{part}", c_in, c_out, kernel)
    width = 32
    for block, (count, reduced) in enumerate(zip(PELEENET_LAYERS, (16, 32, 64, 64), strict=True)):
        for number in range(count):
            at = f"features.denseblock{block + 1}.denselayer{number + 1}"
            for branch in "12":
                layer(f"{at}.branch{branch}a", width, reduced, 1)
                layer(f"{at}.branch{branch}b", reduced, 16, 3)
            layer(f"{at}.branch2c", 16, 16, 3)
            width += 32
        layer(f"features.transition{block + 1}", width, width, 1)
    state["classifier.weight"] = torch.randn(classes, width, generator=generator) / width**0.5
    state["classifier.bias"] = torch.randn(classes, generator=generator)
    return state


def peleenet(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Logits in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        norm = [state[f"{name}.norm.{part}"] for part in ("running_mean", "running_var")]
        factors = [state[f"{name}.norm.{part}"] for part in ("weight", "bias")]
        return F.relu(F.batch_norm(x, *norm, *factors, eps=1e-5))

    stem = "features.stemblock.stem"
    x = layer(f"{stem}1", images.double(), 2)
    down = layer(f"{stem}2b", layer(f"{stem}2a", x), 2)
    x = layer(f"{stem}3", torch.cat((F.max_pool2d(x, 2), down), 1))
    for block, count in enumerate(PELEENET_LAYERS, 1):
        for number in range(1, count + 1):
            at = f"features.denseblock{block}.denselayer{number}.branch"
            near = layer(f"{at}1b", layer(f"{at}1a", x))
            far = layer(f"{at}2c", layer(f"{at}2b", layer(f"{at}2a", x)))
            x = torch.cat((x, near, far), 1)
        x = layer(f"features.transition{block}", x)
        x = F.avg_pool2d(x, 2) if block < 4 else x
    return F.linear(x.mean((2, 3)), state["classifier.weight"], state["classifier.bias"])


@torch.no_grad()
def test_peleenet(difference):
    state = peleenet_state(10)
    model = build("peleenet", 10).eval()
    report = transfer(model, state)
    assert (report.skipped, report.missing) == ({}, ())
    assert len(report.loaded) == len(state)
    assert difference(model(IMAGES)["logits"], peleenet(state, IMAGES)) <= 1e-5


@torch.no_grad()
def test_an_input_of_another_scale(difference, build_changed, tmp_path: Path):
    """RGB / 255 in place of ImageNet's normalization: inside, away from the padding, equal."""
    state = peleenet_state(10)
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "p.tar")
    norm = "  mean_rgb: [123.675, 116.28, 103.53]\n  scale_rgb: [58.395, 57.12, 57.375]\n"
    model = build_changed("peleenet", {norm: "  scale_rgb: [255, 255, 255]\n"}, 10).eval()
    start_backbone_from(model, tmp_path / "p.tar")
    pixels = torch.rand(1, 3, 32, 32) * 255
    mean, scale = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])
    normalized = (pixels - mean.view(3, 1, 1)) / scale.view(3, 1, 1)
    theirs = build("peleenet", 10).eval()
    transfer(theirs, state)
    ours, expected = model.rows[0].first(pixels / 255), theirs.rows[0].first(normalized)
    assert difference(ours[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1]) <= 1e-5
