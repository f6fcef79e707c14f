"""timm's weights in a timm backbone: names of classifiers, files, other inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from detector.layers.repvgg import randomise_batch_norms
from detector.layers.timm_backbone import TimmBackbone
from detector.layers.traced_fuse import trace
from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import save_weights
from detector.weights.transfer import start_backbone_from, start_from, transfer

IMAGENET = "{mean_rgb: [123.675, 116.28, 103.53], scale_rgb: [58.395, 57.12, 57.375]}"
"""ImageNet's mean and standard deviation times 255: 255 · 0.485 = 123.675, …"""


def network(folder: Path, name: str, preprocess: str = IMAGENET, imgsz: int = 64) -> Detector:
    path = folder / "model.yaml"
    path.write_text(
        f"nc: 2\nimgsz: {imgsz}\nanchors: [[8, 8]]\npreprocess: {preprocess}\n"
        f"backbone: {{timm: {name}, out: [P4]}}\nhead: [[[P4], 1, Detect, [nc, anchors]]]\n"
    )
    return build(path)


def classifier(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=5).eval()
    randomise_batch_norms(theirs)
    return theirs


def feature(theirs: torch.nn.Module, image: Tensor) -> Tensor:
    """The classifier's own feature of stride 16; timm computes it without ``features_only``."""
    with torch.no_grad():
        features = theirs.forward_intermediates(image, intermediates_only=True)
    found = [one for one in features if one.shape[-1] == image.shape[-1] // 16]
    result: Tensor = found[-1]
    return result


def ours(model: Detector, image: Tensor) -> Tensor:
    backbone = model.eval().rows[0]
    assert isinstance(backbone, TimmBackbone)
    with torch.no_grad():
        result: Tensor = backbone(image)[0]
    return result


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",  # its names stay
        "convnext_atto",  # stages.0 → stages_0
        "densenet121",  # features.denseblock1 → features_denseblock1
        "repvgg_a0",  # which a RepVGG of ours would take, too
        "vit_tiny_patch16_224",  # below model.
    ],
)
def test_a_classifier_s_weights(name: str, tmp_path: Path, no_network: list[str]):
    side, preprocess = 64, IMAGENET
    if name.startswith("vit"):
        side, preprocess = (
            224,
            "{mean_rgb: [127.5, 127.5, 127.5], scale_rgb: [127.5, 127.5, 127.5]}",
        )
    model, theirs = network(tmp_path, name, preprocess, side), classifier(name)
    report = transfer(model, theirs.state_dict())
    assert [n for n in report.missing if n.startswith("rows.0.")] == []
    assert all(reason == "has no place in this network" for reason in report.skipped.values())
    assert {n.partition(".")[0] for n in report.skipped} <= {
        *("fc", "head", "classifier", "norm", "layer4", "stages", "features", "final_conv"),
    }
    image = torch.rand(2, 3, side, side)
    assert torch.equal(ours(model, image), feature(theirs, image))


def test_files(tmp_path: Path, no_network: list[str]):
    """A state dictionary as safetensors, and pickled, with and without a wrapper."""
    theirs = classifier("resnet18")
    state = theirs.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "c.pth")
    image = torch.rand(1, 3, 64, 64)
    for file in ("a.safetensors", "b.pth", "c.pth"):
        model = network(tmp_path, "resnet18")
        report = start_backbone_from(model, tmp_path / file)
        # 62 tensors of layer 1 to 3's 15 convolutions with 15 norms of 5 tensors: 15 + 75 = 90.
        assert len(report.loaded) == 90
        assert torch.equal(ours(model, image), feature(theirs, image))


def test_weights_of_another_network(tmp_path: Path):
    model = network(tmp_path, "resnet18")
    save_file(classifier("mobilenetv3_small_050").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(DetectorError) as caught:
        start_backbone_from(model, tmp_path / "a.safetensors")
    assert "none of its" in str(caught.value)
    assert "weights fits this network; they belong to another model file" in str(caught.value)


# ------------------------------------------------------------------------------------ other inputs

PLAIN = "{}"
"""Values of 0 to 1: mean 0, scale 255."""


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",  # a convolution, then a norm
        "convnext_atto",  # a convolution with a bias
        "mobileone_s0",  # two convolutions that read the image
    ],
)
def test_another_mean_and_scale(name: str, tmp_path: Path):
    """A pixel p is (p − m) / s for timm and p / 255 here; the same away from the border.

    At the border timm's zeros stand for its mean color, ours for black: three cells are left out.
    """
    theirs = classifier(name).state_dict()
    original, model = network(tmp_path, name), network(tmp_path, name, PLAIN)
    transfer(original, theirs)
    transfer(model, theirs)
    pixels = 255 * torch.rand(1, 3, 32, 32)
    mean, scale = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    )
    expected = first_outputs(original, (pixels - mean) / scale)
    found = first_outputs(model, pixels / 255)
    assert found.keys() == expected.keys() != set()
    for path in found:
        assert torch.allclose(found[path], expected[path], atol=1e-4)


def test_another_channel_order_alone(tmp_path: Path):
    theirs = classifier("resnet18").state_dict()
    bgr = IMAGENET.replace("{", "{channel_order: bgr, ")
    original, model = network(tmp_path, "resnet18"), network(tmp_path, "resnet18", bgr)
    transfer(original, theirs)
    transfer(model, theirs)
    image = torch.rand(1, 3, 32, 32)
    expected = first_outputs(original, image)
    found = first_outputs(model, image.flip(1))
    assert torch.allclose(found["conv1"], expected["conv1"], atol=1e-5)
    assert not torch.allclose(first_outputs(model, image)["conv1"], expected["conv1"], atol=1e-2)


def first_outputs(model: Detector, image: Tensor) -> dict[str, Tensor]:
    """What the convolutions that read the image give, each with its batch norm."""
    backbone = model.eval().rows[0]
    assert isinstance(backbone, TimmBackbone)
    layers, found = trace(backbone.net, backbone.size_hw), {}
    for path in layers.input_convolutions:
        out = backbone.net.get_submodule(path)(image)
        if path in layers.norms:
            out = backbone.net.get_submodule(layers.norms[path])(out)
        found[path] = out.detach()[..., 3:-3, 3:-3]
        assert found[path].numel()
    return found


def test_an_input_that_cannot_be_converted(tmp_path: Path):
    """Its padding reads the image before the first convolution does."""
    model = network(tmp_path, "tf_mobilenetv3_small_minimal_100", PLAIN)
    with pytest.raises(DetectorError) as caught:
        transfer(model, classifier("tf_mobilenetv3_small_minimal_100").state_dict())
    assert str(caught.value) == (
        "weights of timm's tf_mobilenetv3_small_minimal_100 expect another input, and its first "
        "layers cannot be converted; expected in the model file: preprocess: {mean_rgb: "
        "[127.5, 127.5, 127.5], scale_rgb: [127.5, 127.5, 127.5]}"
    )


def test_our_checkpoint_with_another_input(tmp_path: Path):
    """A checkpoint of ours is converted in the same way: 58.395 / 255 of the red weights here."""
    start = network(tmp_path, "resnet18", PLAIN)
    randomise_batch_norms(start)
    save_weights(tmp_path / "a.safetensors", start)
    model = network(tmp_path, "resnet18")
    start_from(model, tmp_path / "a.safetensors")
    before, after = (m.rows[0].net.conv1.weight for m in (start, model))
    assert torch.allclose(after[:, 0], before[:, 0] * 58.395 / 255)
    assert not torch.equal(start.rows[0].net.bn1.running_mean, model.rows[0].net.bn1.running_mean)
    assert torch.equal(start.rows[0].net.bn1.weight, model.rows[0].net.bn1.weight)
