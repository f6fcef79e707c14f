"""MultimediaTechLab's weights: the list of every tensor's name and shape maps without rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from detector.weights.interop.mit_yolo import class_names, is_yolov7, is_yolov9, with_our_names
from detector.weights.transfer import start_from

SIZES = {"v7": ("yolov7", "multimediatech")} | {f"v9-{size}": ("yolov9", size) for size in "tsmc"}


@pytest.fixture(scope="module")
def keys(shared: Path) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads((shared / "reference" / "mit_yolo_keys.json").read_text())
    return listed


def network(name: str) -> Detector:
    return build(SIZES[name][0], variant=SIZES[name][1])


def zeros(keys: dict[str, Any], name: str) -> dict[str, Tensor]:
    return {key: torch.zeros(shape) for key, shape in keys[name].items()}


def numbered(keys: dict[str, Any], name: str) -> dict[str, Tensor]:
    """Weights in which each tensor has a number of its own."""
    state = zeros(keys, name)
    for number, (key, tensor) in enumerate(state.items()):
        tensor.fill_(7 if key.endswith("num_batches_tracked") else number / len(state))
    return state


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("prefix", ["model.", ""], ids=["numbered", "bare"])
def test_every_name_has_a_place(name: str, prefix: str, keys: dict[str, Any]) -> None:
    state = {key.replace("model.", prefix, 1): t for key, t in zeros(keys, name).items()}
    assert (is_yolov7(state), is_yolov9(state)) == (name == "v7", name != "v7")
    model = network(name)
    found = {key: t.shape for key, t in with_our_names(state, model).items()}
    own = {key: t.shape for key, t in model.state_dict().items() if "anchors" not in key}
    assert found == own
    fixed = 0 if name == "v7" else 6  # the bins of six levels
    assert len(found) == len(state) - fixed


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("2.conv1.conv.weight", "2.cv1.conv.weight"),
        ("3.conv.bn.bias", "3.cv1.bn.bias"),
        ("4.conv2.0.bottleneck.2.conv1.conv1.conv.weight", "4.cv2.0.m.2.cv1.conv.weight"),
        ("4.conv2.0.bottleneck.2.conv1.conv2.bn.weight", "4.cv2.0.m.2.cv1.pointwise_bn.weight"),
        ("4.conv3.1.conv.weight", "4.cv3.1.conv.weight"),
        ("9.conv5.conv.weight", "9.cv2.conv.weight"),
        ("22.heads.1.anchor_conv.1.bn.weight", "47.main.box_convs.1.1.bn.weight"),
        ("29.conv4.conv.weight", "28.cv4.conv.weight"),
        ("30.heads.2.class_conv.2.bias", "47.auxiliary.class_layers.2.bias"),
    ],
)
def test_places(theirs: str, ours: str, keys: dict[str, Any]) -> None:
    state = numbered(keys, "v9-t")
    found = with_our_names(state, network("v9-t"))
    assert torch.equal(found[f"rows.{ours}"].float(), state[f"model.{theirs}"])


@pytest.mark.parametrize("name", ["v7", "v9-t"])
def test_the_network_is_built_from_its_weights(
    name: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    state = {f"model.{key}": tensor for key, tensor in numbered(keys, name).items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pt")
    model = load(tmp_path / "theirs.pt")
    assert (Path(model.definition.path).stem, model.definition.variant) == SIZES[name]
    assert model.names[0] == "person"
    assert model.preprocess.channel_order == "rgb"
    if name == "v7":
        added = state["model.model.105.heads.1.implicit_a.implicit"][0]
        assert torch.equal(model.head.m[1].added, added)
        assert model.head.anchors_wh[0, 0].tolist() == [12, 16]


def test_start_weights_for_other_classes(keys: dict[str, Any], tmp_path: Path) -> None:
    """v9-t's class branch is wider for 80 classes than for two: 128 channels instead of 64."""
    torch.save(numbered(keys, "v9-t"), tmp_path / "theirs.pt")
    report = start_from(build("yolov9", ["cell", "person"], "t"), tmp_path / "theirs.pt")
    assert not report.missing
    assert all("class" in name for name in report.skipped)
    assert len(report.loaded) == 1770 - len(report.skipped) - len(report.partly_loaded)


def test_another_width(keys: dict[str, Any], tmp_path: Path) -> None:
    state = numbered(keys, "v9-t")
    state["model.0.conv.weight"] = torch.zeros(20, 3, 3, 3)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(DetectorError) as caught:
        load(tmp_path / "a.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'a.pt'}: YOLOv9 with 20 channels in its stem, expected 16 (t), 32 (s, m), "
        "64 (c)"
    )


def refusal(state: dict[str, Tensor], path: Path) -> str:
    torch.save(state, path)
    with pytest.raises(DetectorError) as caught:
        load(path)
    return str(caught.value)


def test_another_first_block(keys: dict[str, Any], tmp_path: Path) -> None:
    state = numbered(keys, "v9-t")
    del state["model.2.conv2.conv.weight"]
    assert refusal(state, tmp_path / "a.pt") == (
        f"{tmp_path / 'a.pt'}: YOLOv9 with 16 channels in its stem and RepNCSPELAN as its first "
        "block, expected 16 with ELAN (t), 32 with ELAN (s) or RepNCSPELAN (m), 64 with "
        "RepNCSPELAN (c)"
    )


def test_no_stem(keys: dict[str, Any], tmp_path: Path) -> None:
    state = numbered(keys, "v9-t")
    del state["model.0.conv.weight"]
    assert refusal(state, tmp_path / "a.pt") == (
        f"{tmp_path / 'a.pt'}: YOLOv9 without a stem, expected '0.conv.weight'"
    )


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("v9-t", "loss.weight"),
        ("v9-t", "model.200.conv.weight"),
        ("v9-t", "ema.updates"),
        ("v7", "model.200.conv.weight"),
        pytest.param("v7", "loss.weight", marks=pytest.mark.slow),
        pytest.param("v7", "ema.updates", marks=pytest.mark.slow),
    ],
)
def test_names_without_a_place(name: str, more: str, keys: dict[str, Any], tmp_path: Path) -> None:
    """They are refused where all must fit, and listed where a part of the weights may."""
    state = {**numbered(keys, name), more: torch.ones(1)}
    ours = more.replace("model", "rows")
    assert refusal(state, tmp_path / "a.pt").endswith(f"{ours!r} has no place in the network")
    report = start_from(network(name), tmp_path / "a.pt")
    assert report.skipped[ours] == "has no place in this network"


@pytest.mark.parametrize("name", ["v7", "v9-t"])
def test_two_tensors_for_one_place(name: str, keys: dict[str, Any], tmp_path: Path) -> None:
    state = numbered(keys, name)
    averaged = next(iter(state))
    message = refusal({**state, f"ema.{averaged}": torch.zeros(1)}, tmp_path / "a.pt")
    first = averaged.replace("model", "rows")
    assert message.startswith(f"{tmp_path / 'a.pt'}: its ")
    assert message.endswith(
        f"weights do not fit: {first!r} and 'ema.{averaged}' have the same place, '0.conv.weight'; "
        "expected one of them"
    )


def test_class_names_are_known_by_their_number(keys: dict[str, Any]) -> None:
    assert class_names(zeros(keys, "v9-t"))[:2] == ("person", "bicycle")
    assert class_names(zeros(keys, "v7"))[-1] == "toothbrush"
