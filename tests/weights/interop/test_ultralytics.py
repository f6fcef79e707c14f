"""Checkpoints of YOLOv8 and YOLO11: a tree of the package's classes, read without the package."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from detector.heads.distribution import DFLHead
from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import read_yaml
from detector.weights.checkpoint import load
from detector.weights.interop.ultralytics import with_our_names
from detector.weights.transfer import start_from

THEIRS = (
    (r"box_convs\.(\d)\.", r"cv2.\1."),
    (r"class_convs\.(\d)\.", r"cv3.\1."),
    (r"box_layers\.(\d)\b", r"cv2.\1.2"),
    (r"class_layers\.(\d)\b", r"cv3.\1.2"),
)
"""Our names inside the head → the package's, written as its modules nest (nn/modules/head.py)."""


def their_path(path: str, head: str) -> str:
    if path.startswith(head):
        for ours, theirs in THEIRS:
            path = re.sub(ours, theirs, path)
    return path.replace("rows", "model", 1)


@pytest.fixture(scope="module", params=["yolov8", "yolo11"])
def network(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    model = build(request.param, 3, "n")
    randomise_batch_norms(model)
    return model.half().float().eval()


@pytest.fixture
def write(
    network: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """A function that writes a checkpoint as the package's trainer does."""
    module = types.ModuleType("ultralytics.nn.tasks")
    for word in ("DetectionModel", "SegmentationModel", "Block"):
        setattr(module, word, type(word, (nn.Module,), {"__module__": module.__name__}))
    for name in ("ultralytics", "ultralytics.nn", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)

    def twin(kind: str) -> nn.Module:
        model: nn.Module = getattr(module, kind)()
        head = f"rows.{len(network.plan) - 1}"
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            *parents, leaf = their_path(name, head).split(".")
            place = model
            for parent in parents:
                if parent not in place._modules:
                    place.add_module(parent, module.Block())
                place = place.get_submodule(parent)
            if name in dict(network.named_buffers()):
                place.register_buffer(leaf, tensor.clone())
            else:
                place.register_parameter(leaf, nn.Parameter(tensor.clone()))
        bins = module.Block()
        bins.conv = module.Block()
        bins.conv.weight = nn.Parameter(torch.arange(16.0).view(1, 16, 1, 1))
        model.get_submodule(head.replace("rows", "model")).dfl = bins
        model.yaml = {**read_yaml(Path(network.definition.path)).value, "nc": 3, "scale": "n"}
        model.yaml |= {"yaml_file": "a.yaml", "ch": 3, "channels": 3}
        del model.yaml["imgsz"]
        model.names = {i: f"name{i}" for i in range(3)}
        return model

    def save(kind: str = "DetectionModel", **changes: Any) -> Path:
        model = twin(kind)
        for key, value in changes.items():
            setattr(model, key, value)
        content = {"epoch": -1, "model": model.half(), "ema": None, "license": "AGPL-3.0"}
        path = tmp_path / "theirs.pt"
        torch.save(content, path)
        return path

    return save


@torch.no_grad()
def test_the_network_is_rebuilt(write: Callable[..., Path], network: Detector) -> None:
    model = load(write())
    assert isinstance(model.head, DFLHead)
    assert model.head.separable == ("yolo11" in network.definition.path)
    assert model.names == ("name0", "name1", "name2")
    assert model.definition.variant == "n"
    images = torch.rand(1, 3, 64, 96)
    for found, expected in zip(model(images), network(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_plain_state_dictionary(
    prefix: str, network: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The head's tensors have their places, the bins none; and the licence is said."""
    head = f"rows.{len(network.plan) - 1}"
    state = {prefix + their_path(name, head): t for name, t in network.state_dict().items()}
    assert f"{prefix}{head}.cv2.0.2.weight".replace("rows", "model") in state
    bins = f"{prefix}{head}.dfl.conv.weight".replace("rows", "model")
    torch.save({**state, bins: torch.arange(16.0).view(1, 16, 1, 1)}, tmp_path / "a.pth")
    model = build(network.definition.path, 3, "n")
    with caplog.at_level("INFO", "detector"):
        report = start_from(model, tmp_path / "a.pth")
    assert (report.skipped, report.missing) == ({}, ())
    assert len(report.loaded) == len(state)
    own = model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in network.state_dict().items())
    assert caplog.messages == [
        "a.pth: weights of Ultralytics' YOLO, or of YOLOv7, licence: AGPL-3.0 (Ultralytics) or "
        "GPL-3.0 (YOLOv7), unless its author says otherwise; see docs/weights.md"
    ]


def test_another_task_is_named(write: Callable[..., Path]) -> None:
    path = write("SegmentationModel")
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: a checkpoint of Ultralytics that holds a SegmentationModel; expected "
        "DetectionModel or ClassificationModel"
    )


def test_names_of_other_networks_stay() -> None:
    state = {"rows.1.cv2.0.2.weight": torch.zeros(1), "rows.2.conv1.conv.weight": torch.zeros(1)}
    assert with_our_names(state) == state


def test_branches_of_repconv() -> None:
    """RepConv's 3×3 branch is ``conv1``, its 1×1 branch ``conv2``."""
    names = ("conv1.conv.weight", "conv1.bn.bias", "conv2.conv.weight", "conv2.bn.running_var")
    state = {f"rows.4.cv2.0.m.0.cv1.{name}": torch.zeros(1) for name in names}
    found = with_our_names({**state, "rows.22.dfl.conv.weight": torch.zeros(1)})
    inside = ("conv.weight", "bn.bias", "pointwise.weight", "pointwise_bn.running_var")
    assert list(found) == [f"rows.4.cv2.0.m.0.cv1.{name}" for name in inside]
