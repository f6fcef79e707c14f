"""YOLOX's weights: every name has a place, published sizes are built from their weights alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from detector.weights.interop.yolox import INPUT, class_names, is_yolox, with_our_names
from detector.weights.transfer import start_from


@pytest.fixture(scope="module", params=["nano", "s"])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def state(
    size: str, shapes_of: Callable[..., Any], random_state: Callable[..., Any]
) -> dict[str, Tensor]:
    return random_state(shapes_of(f"yolox_{size}"))


def saved(path: Path, state: dict[str, Tensor], prefix: str = "") -> Path:
    """A checkpoint as the authors' trainer writes it."""
    renamed = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({"start_epoch": 300, "model": renamed, "optimizer": {"state": {}}}, path)
    return path


def test_every_name_has_a_place(size: str, state: dict[str, Tensor]) -> None:
    assert is_yolox(state)
    model = build("yolox", variant=size)
    ours = with_our_names(state, model)
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    assert len(ours) == len(state)
    stem = torch.equal(ours["rows.0.conv.conv.weight"].float(), state[STEM])
    assert stem  # the file's own input, nothing to convert


STEM = "backbone.backbone.stem.conv.conv.weight"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_network_is_built_from_its_weights(
    prefix: str, size: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    model = load(saved(tmp_path / "yolox.pth", state, prefix))
    assert model.definition.variant == size
    assert model.names[0] == "person"
    assert model.names[-1] == "toothbrush"
    side = 416 if size == "nano" else 640
    assert model.preprocess.size_hw == (side, side)
    for key in ("channel_order", "scale_rgb", "mean_rgb"):
        assert getattr(model.preprocess, key) == getattr(INPUT, key)
    assert model.preprocess.padding == "right_bottom"
    last = model.head.objectness_layers[2].bias
    assert torch.equal(last, state["head.obj_preds.2.bias"])


def test_start_weights_for_other_classes(
    size: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    """Of the classes, the one of the same name is taken: person is COCO's class 0."""
    model = build("yolox", ["cell", "person"], size)
    report = start_from(model, saved(tmp_path / "yolox.pth", state))
    assert len(report.partly_loaded) == 6  # weight and bias of three levels
    assert not report.skipped
    assert not report.missing
    bias = model.head.class_layers[0].bias
    assert float(bias[1].detach()) == float(state["head.cls_preds.0.bias"][0])


def test_names_are_known_by_their_number_only() -> None:
    assert class_names({"head.cls_preds.0.bias": torch.zeros(80)})[:2] == ("person", "bicycle")
    assert class_names({"head.cls_preds.0.bias": torch.zeros(3)}) == ()


def test_another_width(size: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {**state, STEM: torch.zeros(20, 12, 3, 3)})
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: YOLOX with 20 channels in its stem, expected "
        "16 (nano), 24 (tiny), 32 (s), 48 (m), 64 (l), 80 (x)"
    )


@pytest.mark.parametrize("name", [STEM, "head.cls_preds.0.bias"])
def test_one_number(name: str, size: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {**state, name: torch.tensor(1.0)})
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: its YOLOX weights do not fit: {name!r} is one number, "
        "expected one for each output channel"
    )


def test_a_tensor_too_few(size: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    less = {name: tensor for name, tensor in state.items() if name != "head.obj_preds.1.bias"}
    with pytest.raises(DetectorError, match="its YOLOX weights do not fit.*objectness_layers.1"):
        load(saved(tmp_path / "a.pth", less))


def test_the_authors_weights(shared: Path) -> None:
    model = load(shared / "weights" / "yolox_nano_coco.pth")
    assert sum(p.numel() for p in model.parameters()) == 912_159
