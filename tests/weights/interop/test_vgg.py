"""torchvision's VGG16 as start weights: which units and positions of fc6 and fc7 are kept."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from detector.model.detector import Detector, build
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights import transfer
from detector.weights.interop.vgg import decimated, is_vgg16, with_our_names
from detector.weights.transfer import start_backbone_from

FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
OURS = ("0.0", "0.1", "2.0", "2.1", "4.0", "4.1", "4.2", "6.0", "6.1", "6.2", "8.0", "8.1", "8.2")
"""Rows of VGG16's 13 convolutions in ``ssd300_vgg16``; fc6 and fc7 are rows 10 and 11."""


def columns(units: int, count: int) -> Tensor:
    """(units, count): each entry is the number of its column; takes the memory of one row."""
    return torch.arange(float(count)).expand(units, count)


def vgg16() -> dict[str, Tensor]:
    """A state dictionary of torchvision's shapes and names."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for i, c_in, c_out in zip(FEATURES, CHANNELS, CHANNELS[1:], strict=False):
        state[f"features.{i}.weight"] = torch.rand(c_out, c_in, 3, 3, generator=generator)
        state[f"features.{i}.bias"] = torch.rand(c_out, generator=generator)
    for i, count in ((0, 25088), (3, 4096)):
        state[f"classifier.{i}.weight"] = columns(4096, count)
        state[f"classifier.{i}.bias"] = torch.arange(4096.0) + i
    state["classifier.6.weight"], state["classifier.6.bias"] = columns(1000, 4096), torch.ones(1000)
    return state


def small(fc6: tuple[int, ...], fc7: tuple[int, ...]) -> dict[str, Tensor]:
    """Return VGG16's names with small tensors."""
    weights = {f"features.{i}": torch.ones(1, 1, 3, 3) for i in FEATURES}
    weights |= {"classifier.0": torch.ones(fc6), "classifier.3": torch.ones(fc7)}
    state = {f"{path}.weight": tensor for path, tensor in weights.items()}
    return {**state, **{f"{path}.bias": torch.ones(1) for path in weights}}


def test_kept_positions_and_inputs():
    body = decimated(vgg16())
    fc6, fc7 = body["fc6.weight"], body["fc7.weight"]
    assert fc6.shape == (1024, 512, 3, 3)
    assert fc7.shape == (1024, 1024, 1, 1)
    # fc6 reads 512 maps of 7×7, channel after channel, row after row: column 49 · c + 7 · y + x.
    # Positions 0, 3 and 6 of either axis are kept.
    assert fc6[0, 0].tolist() == [[0, 3, 6], [21, 24, 27], [42, 45, 48]]
    assert fc6[9, 2, 1, 2] == 2 * 49 + 3 * 7 + 2 * 3  # 125
    assert fc6[1023, 511, 2, 2] == 25087
    # fc7 reads fc6's units 0, 4, 8, ….
    assert fc7[5, :3, 0, 0].tolist() == [0, 4, 8]
    assert fc7[1023, 1023, 0, 0] == 4092


def test_kept_units():
    state = vgg16()
    for i, count in ((0, 25088), (3, 4096)):
        state[f"classifier.{i}.weight"] = torch.arange(4096.0)[:, None].expand(4096, count)
    body = decimated(state)
    assert body["fc6.weight"][:3, 7, 1, 1].tolist() == [0, 4, 8]
    assert body["fc7.weight"][:3, 7, 0, 0].tolist() == [0, 4, 8]
    assert body["fc6.bias"][[0, 1, 1023]].tolist() == [0, 4, 4092]
    assert body["fc7.bias"][[0, 1, 1023]].tolist() == [3, 7, 4095]  # they were unit + 3


def test_recognition():
    assert is_vgg16(vgg16())
    assert is_vgg16(small((1, 1), (1, 1)))
    assert not is_vgg16({})


@pytest.mark.parametrize("missing", ["features.28", "classifier.0", "classifier.3"])
def test_networks_of_fewer_layers_are_others(missing: str):
    state = small((1, 1), (1, 1))
    del state[f"{missing}.weight"]
    assert not is_vgg16(state)


def test_vgg16_with_batch_norm_is_another():
    indices = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
    state = {f"features.{i}.weight": torch.ones(1, 1, 3, 3) for i in indices}
    state |= {f"features.{i + 1}.weight": torch.ones(1) for i in indices}
    state |= {f"classifier.{i}.weight": torch.ones(1, 1) for i in (0, 3, 6)}
    assert not is_vgg16(state)


@pytest.mark.parametrize(
    ("fc6", "fc7"),
    [((4096, 512), (4096, 4096)), ((4096, 25088), (4096, 1)), ((1024, 512, 3, 3), (2, 2))],
)
def test_another_shape(fc6: tuple[int, ...], fc7: tuple[int, ...]):
    state = small((1, 1), (1, 1))
    state["classifier.0.weight"] = torch.ones(1).expand(fc6)
    state["classifier.3.weight"] = torch.ones(1).expand(fc7)
    with pytest.raises(DetectorError) as caught:
        decimated(state)
    assert str(caught.value) == (
        f"VGG16 weights: fc6 is {fc6}, fc7 {fc7}, expected (4096, 25088) and (4096, 4096)"
    )


def test_a_network_of_fewer_convolutions():
    names = {f"rows.{i}.conv.weight": torch.zeros(0) for i in range(14)}
    with pytest.raises(DetectorError, match="^VGG16 weights: expected 14 convolutions, found 15$"):
        with_our_names(vgg16(), names, CAFFE)


OWN = {f"rows.{i}.conv.{part}": torch.zeros(0) for i in range(20) for part in ("weight", "bias")}
CAFFE = PreprocessKeys(mean_rgb=(123, 117, 104), scale_rgb=(1, 1, 1))
TORCHVISION = PreprocessKeys(mean_rgb=(123.675, 116.28, 103.53), scale_rgb=(58.395, 57.12, 57.375))
SCALED = PreprocessKeys(mean_rgb=(123, 117, 104), scale_rgb=(255, 255, 255))
PLAIN = PreprocessKeys(mean_rgb=(0, 0, 0), scale_rgb=(255, 255, 255))


def first_output(weight: Tensor, bias: Tensor, preprocess: PreprocessKeys) -> Tensor:
    """Return the first convolution's output without padding, for pixels of any normalization."""
    pixels = 255 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3)).double()
    mean, scale = (
        torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
        for rgb in (preprocess.mean_rgb, preprocess.scale_rgb)
    )
    return F.conv2d((pixels - mean) / scale, weight.double(), bias.double())


@pytest.mark.parametrize("preprocess", [CAFFE, TORCHVISION, PLAIN])
@pytest.mark.parametrize("source", [CAFFE, TORCHVISION])
def test_the_first_convolution_of_another_input(
    preprocess: PreprocessKeys, source: PreprocessKeys
) -> None:
    state = vgg16()
    if source is CAFFE:
        state["classifier.0.weight"] = torch.full((1, 1), torch.nan)
    found = with_our_names(state, OWN, preprocess)
    torch.testing.assert_close(
        first_output(found["rows.0.conv.weight"], found["rows.0.conv.bias"], preprocess),
        first_output(state["features.0.weight"], state["features.0.bias"], source),
    )


def test_biases_go_into_the_means_of_norms() -> None:
    """y = conv + b, normed with mean 0, is conv normed with mean −b."""
    own = {name: tensor for name, tensor in OWN.items() if not name.endswith("bias")}
    own |= {f"rows.{i}.bn.running_mean": torch.zeros(0) for i in range(20)}
    state = vgg16()
    found = with_our_names(state, own, TORCHVISION)
    assert len(found) == 30
    assert found["rows.1.bn.running_mean"].equal(-state["features.2.bias"])
    assert found["rows.14.bn.running_mean"].equal(-state["classifier.3.bias"][::4])
    torch.testing.assert_close(found["rows.0.bn.running_mean"], -state["features.0.bias"].double())


def test_caffe_s_features_with_an_empty_classifier():
    state = vgg16()
    state["classifier.0.weight"] = torch.full((1, 1), torch.nan)
    found = with_our_names(state, OWN, CAFFE)
    assert len(found) == 26
    torch.testing.assert_close(found["rows.0.conv.weight"].float(), state["features.0.weight"])


def test_caffe_s_reduced_file():
    state = {}
    for number, i in enumerate((*FEATURES, 31, 33)):
        state[f"{i}.weight"] = torch.full((2, 3, 1, 1), float(number))
        state[f"{i}.bias"] = torch.zeros(2)
    assert is_vgg16(state)
    found = with_our_names(state, OWN, CAFFE)
    assert len(found) == 30
    assert found["rows.14.conv.weight"].unique().tolist() == [14]
    # An input divided by 255 asks for weights 255 times as large.
    scaled = with_our_names(
        {**state, "0.weight": torch.ones(2, 3, 1, 1)},
        OWN,
        SCALED,
    )
    assert scaled["rows.0.conv.weight"].unique().tolist() == [255]


@pytest.fixture(scope="module")
def ssd300() -> Detector:
    return build("ssd300_vgg16", 3)


def test_start_of_a_backbone(ssd300: Detector, monkeypatch: pytest.MonkeyPatch):
    state = vgg16()
    monkeypatch.setattr(transfer, "read_state", lambda path: state)
    monkeypatch.setattr(transfer, "trainable_metadata", lambda path: None)
    before = {name: tensor.clone() for name, tensor in ssd300.state_dict().items()}
    report = start_backbone_from(ssd300, Path("vgg16.pth"))
    own = ssd300.state_dict()
    for theirs, ours in zip(FEATURES, OURS, strict=True):
        for part in ("weight", "bias"):
            expected = state[f"features.{theirs}.{part}"]
            if theirs == 0:  # see test_the_first_convolution_of_another_input
                continue
            torch.testing.assert_close(own[f"rows.{ours}.conv.{part}"], expected)
    # Every third position of every column; every fourth unit of fc6's.
    positions = torch.arange(25088.0).view(512, 7, 7)[:, ::3, ::3]
    assert torch.equal(own["rows.10.conv.weight"], positions.expand(1024, -1, -1, -1))
    inputs = torch.arange(0, 4096.0, 4).view(1024, 1, 1)
    assert torch.equal(own["rows.11.conv.weight"], inputs.expand(1024, -1, -1, -1))
    assert own["rows.10.conv.bias"][:3].tolist() == [0, 4, 8]
    assert own["rows.11.conv.bias"][:3].tolist() == [3, 7, 11]
    # 13 + 2 convolutions, weight and bias. Not in them: 8 extra ones, the factors of conv4_3's
    # norm, and the head's two for each of 6 levels: 16 + 1 + 24.
    rest = [name for name in own if name not in report.loaded]
    assert len(report.loaded) == 30
    assert len(rest) == 41
    assert report.missing == tuple(rest)
    assert all(torch.equal(own[name], before[name]) for name in rest)
    assert report.lines() == [
        "start weights: 30 of 30 tensors loaded",
        *(
            f"  not in the start weights: rows.{row}.conv.{part}"
            for row in (12, 13, 14)
            for part in ("weight", "bias")
        ),
        "  not in the start weights: rows.15.conv.weight",
        "  and 34 more",
    ]


def test_a_file_of_another_shape_is_named(ssd300: Detector, tmp_path: Path):
    path = tmp_path / "vgg16.pth"
    torch.save(small((4, 2), (4, 4)), path)
    with pytest.raises(DetectorError) as caught:
        start_backbone_from(ssd300, path)
    assert str(caught.value) == (
        f"{path}: VGG16 weights: fc6 is (4, 2), fc7 (4, 4), expected (4096, 25088) and (4096, 4096)"
    )
