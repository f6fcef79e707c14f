"""torchvision's VGG classifiers: they compute the same here, and start detectors' backbones."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torchvision import models

from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.interop import layouts
from detector.weights.interop.torchvision_vgg import indices, is_torchvision_vgg, with_our_names
from detector.weights.interop.vgg import decimated
from detector.weights.transfer import start_backbone_from, start_from, transfer

NETWORKS = [("vgg16", "16"), ("vgg19", "19"), ("vgg16_bn", "16-bn"), ("vgg19_bn", "19-bn")]
SMALL_HEAD = {"hidden: [4096, 4096]": "hidden: [32, 24]"}


def torchvision_s(name: str) -> nn.Module:
    """All its features; fc6 reads its 25088 values, but has 32 units, and fc7 24."""
    torch.manual_seed(0)
    with torch.device("meta"):  # of 138 million weights most are fc6's
        model = getattr(models, name)()
    model.features.to_empty(device="cpu")
    for position, sizes in ((0, (25088, 32)), (3, (32, 24)), (6, (24, 10))):
        model.classifier[position] = nn.Linear(*sizes)
    with torch.no_grad():
        for module in model.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                module.bias.uniform_(-0.5, 0.5)
    randomise_batch_norms(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked.fill_(3)
    return model.eval()


@pytest.mark.parametrize(("name", "variant"), NETWORKS)
@torch.no_grad()
def test_all_four(name: str, variant: str, difference, build_changed):
    theirs = torchvision_s(name)
    model = build_changed("vgg", SMALL_HEAD, 10, variant).eval()
    report = transfer(model, theirs.state_dict())
    assert (report.skipped, report.missing) == ({}, ())
    images = torch.rand(2, 3, 64, 96) * 4 - 2
    assert difference(model(images)["logits"], theirs(images)) < 1e-5


@pytest.mark.parametrize(("name", "variant"), NETWORKS)
def test_shapes(name: str, variant: str):
    with torch.device("meta"):
        model, theirs = build("vgg", variant=variant), getattr(models, name)()
    state = theirs.state_dict()
    names = with_our_names(state, model)
    own = model.state_dict()
    assert {n: t.shape for n, t in names.items()} == {n: t.shape for n, t in own.items()}


@torch.no_grad()
def test_the_backbone_of_a_detector_without_biases(difference, tmp_path):
    """Biases go into the norms of convolutions that have none, for an input of RGB / 255.

    A pixel p is 255 · x here, and (p − mean) / deviation there. Zero padding is black
    here and the mean colour there, so the features agree inside only.
    """
    theirs = torchvision_s("vgg16_bn")
    path = tmp_path / "vgg16_bn.pth"
    torch.save(theirs.state_dict(), path)
    model = build("yolov5_vgg16bn", 3).eval()
    report = start_backbone_from(model, path)
    assert set(report.skipped) == {
        f"classifier.{i}.{part}" for i in (0, 3, 6) for part in ("weight", "bias")
    }
    # 13 convolutions, each with a norm's 5 tensors.
    assert len(report.loaded) == 13 * 6
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    deviation = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    pixels = torch.rand(1, 3, 64, 64) * 255
    x, expected = pixels / 255, (pixels - mean) / deviation
    for row in model.rows[:3]:
        x = row(x)
    for layer in theirs.features[:13]:  # conv, norm, activation twice, pool, and these six again
        expected = layer(expected)
    # Two convolutions see 2 pixels far, which are 1 after the pool, and two more see 2 of these.
    inside = slice(3, -3)
    assert difference(x[..., inside, inside], expected[..., inside, inside]) < 1e-5


def test_a_file_starts_a_network_of_other_classes(build_changed, tmp_path):
    path = tmp_path / "vgg16.pth"
    torch.save(torchvision_s("vgg16").state_dict(), path)
    report = start_from(build_changed("vgg", SMALL_HEAD, 4, "16"), path)
    assert report.skipped == {
        "rows.10.layers.8.weight": "is 10×24, expected 4×24",
        "rows.10.layers.8.bias": "is 10, expected 4",
    }
    assert report.missing == ()


def features(depth: int, norm: bool) -> dict[str, Tensor]:
    state = {}
    for index in indices(depth, norm):
        state[f"features.{index}.weight"] = torch.ones(1, 1, 3, 3)
        state[f"features.{index}.bias"] = torch.ones(1)
        if norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"features.{index + 1}.{part}"] = torch.ones(1)
    return state


def test_numbers_of_the_features():
    assert indices(16, norm=True) == [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]
    nineteen = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    assert indices(19, norm=False) == nineteen


def test_recognition():
    assert not is_torchvision_vgg({})
    assert all(is_torchvision_vgg(features(d, norm)) for d in (16, 19) for norm in (False, True))
    state = features(16, True)
    del state["features.40.weight"]
    assert not is_torchvision_vgg(state)


@pytest.mark.parametrize(
    ("state", "variant", "message"),
    [
        (features(19, False), "16", "VGG weights: expected 13 blocks, found 16"),
        (
            features(16, True),
            "16",
            "VGG weights: block 'features.0' has 'bn.weight', which has no place in the network",
        ),
        (
            features(16, False),
            "16-bn",
            "VGG weights: block 'features.0' has nothing for 'bn.weight'",
        ),
        (
            {**features(16, False), "features.29.weight": torch.ones(1)},
            "16",
            "VGG weights: 'features.29.weight' has no place in the network",
        ),
        (
            {**features(16, False), "fc.bias": torch.ones(1)},
            "16",
            "VGG weights: 'fc.bias' has no place in the network",
        ),
    ],
)
def test_other_tensors(state: dict[str, Tensor], variant: str, message: str):
    with torch.device("meta"):
        model = build("vgg", variant=variant)
    with pytest.raises(DetectorError) as caught:
        with_our_names(state, model)
    assert str(caught.value) == message


def test_a_bias_of_another_shape_has_no_place():
    state = {**features(16, True), "features.0.bias": torch.ones(7)}
    model = build("yolov5_vgg16bn", 3)
    with pytest.raises(DetectorError) as caught:
        with_our_names(state, model)
    assert str(caught.value) == (
        "VGG weights: block 'features.0' has 'conv.bias', which has no place in the network"
    )


@torch.no_grad()
def test_ssd_with_batch_norms_decimates(difference):
    """fc6 and fc7 become conv6 and conv7 as without norms; those behind them have ε = 1e-5."""
    state = torchvision_s("vgg16_bn").state_dict()
    for i, (units, count) in ((0, (4096, 25088)), (3, (4096, 4096))):
        # All rows are one: 400 MB less.
        state[f"classifier.{i}.weight"] = (torch.rand(count) - 0.5).expand(units, count)
        state[f"classifier.{i}.bias"] = torch.rand(4096) - 0.5
    model = build("ssd300_vgg16bn", 3).eval()
    report = transfer(model, state)
    assert report.skipped == {}
    # 13 convolutions, each with a norm's 5 tensors; two with the norm's mean.
    assert len(report.loaded) == 13 * 6 + 2 * 2
    body, maps = decimated(state), torch.rand(1, 512, 12, 12)
    conv6 = conv2d(maps, body["fc6.weight"], body["fc6.bias"], padding=6, dilation=6).relu()
    conv7 = conv2d(conv6, body["fc7.weight"], body["fc7.bias"]).relu()
    assert difference(model.rows[11](model.rows[10](maps)), conv7) < 1e-4


@pytest.mark.parametrize("name", ["refinedet320_vgg16", "refinedet512_vgg16"])
def test_the_backbone_of_refinedet(name: str):
    """All 13 convolutions, and fc6 and fc7 decimated: 15 weights and biases."""
    with torch.device("meta"):
        theirs, own = models.vgg16().state_dict(), build(name).state_dict()
        model = build(name)
    state = {n: torch.zeros(()).expand(tensor.shape) for n, tensor in theirs.items()}
    fitting = {n: t for n, t in layouts.with_our_names(state, model).items() if n in own}
    assert len(fitting) == 2 * 15
    assert {n: t.shape for n, t in fitting.items()} == {n: own[n].shape for n in fitting}
