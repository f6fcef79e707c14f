"""YOLOv6's weights: every name has a place, n and m are built from a pickled network of its."""

from __future__ import annotations

import functools
import logging
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from detector.weights.interop.yolov6 import (
    BINS,
    CLASSES,
    STEM,
    class_names,
    is_yolov6,
    with_our_names,
)
from detector.weights.transfer import start_from

LICENCE = (
    "weights of YOLOv6, licence: GPL-3.0, unless its author says otherwise; see docs/weights.md"
)


@pytest.fixture(scope="module")
def state_of(
    shapes_of: Callable[..., Any], random_state: Callable[..., Any]
) -> Callable[[str], dict[str, Tensor]]:
    """A function that draws the weights of a size once."""
    return functools.cache(lambda size: drawn(random_state(shapes_of(f"yolov6_{size}"))))


@pytest.fixture(scope="module")
def state(state_of: Callable[[str], dict[str, Tensor]]) -> dict[str, Tensor]:
    return state_of("n")


def drawn(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose bins are 0 to 16; half precision holds them exactly."""
    bins = torch.arange(17.0)
    halved = {n: t.half().float() if t.is_floating_point() else t for n, t in found.items()}
    return {**halved, BINS[0]: bins, BINS[1]: bins.view(1, 17, 1, 1)}


def saved(
    path: Path,
    state: Mapping[str, Tensor],
    eps: float = 0.001,
    wrap: Callable[[nn.Module], dict[str, Any]] = lambda model: {"model": model, "ema": None},
) -> Path:
    """A checkpoint as the authors' trainer writes it, of classes that exist while it is written."""
    module = types.ModuleType("yolov6.models.yolo")
    for word in ("Model", "Block"):
        setattr(module, word, type(word, (nn.Module,), {"__module__": module.__name__}))
    parents = {name: types.ModuleType(name) for name in ("yolov6", "yolov6.models")}
    sys.modules.update(parents | {module.__name__: module})
    try:
        model = module.Model()
        for name, tensor in state.items():
            *blocks, leaf = name.split(".")
            place = model
            for block in blocks:
                if not hasattr(place, block):
                    place.add_module(block, module.Block())
                place = getattr(place, block)
            if leaf.startswith(("running", "num")):
                place.register_buffer(leaf, tensor.clone())
                place.eps = eps
            else:
                place.register_parameter(leaf, nn.Parameter(tensor.clone()))
        torch.save({"epoch": 1, **wrap(model.half())}, path)
    finally:
        for name in (*parents, module.__name__):
            del sys.modules[name]
    return path


@pytest.mark.parametrize("size", ["n", "m"])
def test_every_name_has_a_place(size: str, state_of: Callable[[str], dict[str, Tensor]]) -> None:
    state = state_of(size)
    assert is_yolov6(state)
    model = build("yolov6", variant=size)
    ours = with_our_names(state, model)
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    assert len(ours) == len(state) - len(BINS)


PLACES = {
    "n": {
        "rows.0.conv.weight": STEM,
        "rows.2.0.identity_bn.weight": "backbone.ERBlock_2.1.conv1.rbr_identity.weight",
        "rows.2.1.pointwise.weight": "backbone.ERBlock_2.1.block.0.rbr_1x1.conv.weight",
        "rows.13.cv6.bn.running_mean": "backbone.ERBlock_5.2.cspsppf.cv6.block.bn.running_mean",
        "rows.16.middle.conv.weight": "neck.Bifusion0.cv1.block.conv.weight",
        "rows.20.up.bias": "neck.Bifusion1.upsample.upsample_transpose.bias",
        "rows.20.down.1.conv.weight": "neck.Bifusion1.downsample.block.conv.weight",
        "rows.27.bn.running_var": "neck.downsample1.block.bn.running_var",
        "rows.31.class_layers.2.bias": "detect.cls_preds.2.bias",
        "rows.31.box_convs.1.conv.weight": "detect.reg_convs.1.block.conv.weight",
    },
    "m": {
        "rows.3.cv3.conv.weight": "backbone.ERBlock_2.1.cv3.block.conv.weight",
        "rows.9.m.0.alpha": "backbone.ERBlock_4.1.m.conv1.alpha",
        "rows.9.m.4.conv1.bn.bias": "backbone.ERBlock_4.1.m.block.3.conv1.rbr_dense.bn.bias",
        "rows.14.cv2.conv.weight": "backbone.ERBlock_5.2.sppf.cv2.block.conv.weight",
        "rows.30.m.0.conv1.bn.running_var": "neck.Rep_n4.m.conv1.conv1.rbr_dense.bn.running_var",
        "rows.31.box_layers.0.weight": "detect.reg_preds.0.weight",
    },
}


@pytest.mark.parametrize(("size", "pickled"), [("n", True), ("n", False), ("m", True)])
def test_the_network_is_built_from_its_weights(
    size: str,
    pickled: bool,
    state_of: Callable[[str], dict[str, Tensor]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = state_of(size)
    path = tmp_path / "theirs.pt"
    if pickled:
        saved(path, state)
    else:
        torch.save({"model": state}, path)
    with caplog.at_level(logging.INFO, "detector"):
        model = load(path)
    assert caplog.messages == [f"theirs.pt: {LICENCE}"]
    assert model.definition.variant == size
    assert model.names[0] == "person"
    assert model.preprocess.channel_order == "rgb"
    assert model.preprocess.scale_rgb == (255, 255, 255)
    found = model.state_dict()
    for ours, theirs in PLACES[size].items():
        assert torch.equal(found[ours], state[theirs]), ours


def test_the_averaged_network_counts(state: dict[str, Tensor], tmp_path: Path) -> None:
    averaged = saved(tmp_path / "a.pt", state, wrap=lambda model: {"model": None, "ema": model})
    assert torch.equal(load(averaged).state_dict()["rows.0.conv.weight"], state[STEM])


def test_what_is_for_training_only(
    state: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Layers of distributions that n and s are distilled with, and of anchors."""
    more = {
        "detect.reg_preds_dist.0.weight": torch.ones(68, 8, 1, 1),
        "detect.cls_preds_ab.1.bias": torch.ones(240),
        "detect.reg_preds_ab.1.bias": torch.ones(12),
    }
    caplog.set_level("INFO", "detector")
    load(saved(tmp_path / "a.pt", {**state, **more}))
    assert caplog.messages[0] == (
        "left out, since YOLOv6 has them in training only: cls_preds_ab, reg_preds_ab, "
        "reg_preds_dist"
    )


def test_start_weights_for_other_classes(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Of the classes, the one of the same name is taken: person is COCO's class 0."""
    model = build("yolov6", ["cell", "person"], "n")
    report = start_from(model, saved(tmp_path / "a.pt", state))
    assert len(report.partly_loaded) == 6  # weight and bias of three levels
    assert not report.skipped
    assert not report.missing
    bias = model.head.class_layers[0].bias
    assert float(bias[1].detach()) == float(state[CLASSES][0])


def test_names_are_known_by_their_number_only() -> None:
    assert class_names({CLASSES: torch.zeros(80)})[:2] == ("person", "bicycle")
    assert class_names({CLASSES: torch.zeros(3)}) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {STEM: torch.zeros(64, 3, 3, 3)},
            "YOLOv6 with 64 channels in its stem, expected 16 (n), 32 (s), 48 (m)",
        ),
        (
            {STEM: None, "backbone.stem.rbr_reparam.weight": torch.zeros(16, 3, 3, 3)},
            f"YOLOv6 without {STEM!r}; its n, s and m of version 3 are read, before they are fused",
        ),
        (
            {BINS[0]: torch.arange(-2.0, 15.0)},
            "its YOLOv6 weights do not fit: YOLOv6 weights: 'detect.proj' is not 0, 1, …, 16",
        ),
        (
            {"backbone.ERBlock_6.0.rbr_dense.conv.weight": torch.zeros(8, 8, 3, 3)},
            "its YOLOv6 weights do not fit: 'backbone.ERBlock_6.0.rbr_dense.conv.weight' has no "
            "place in the network",
        ),
    ],
)
def test_weights_that_are_refused(
    change: dict[str, Tensor | None], message: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
    path = saved(tmp_path / "a.pt", changed)
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_another_epsilon(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", state, eps=1e-5)
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: '")
    assert str(caught.value).endswith("bn' has eps 1e-05, expected 0.001")


def test_a_tensor_too_few(state: dict[str, Tensor], tmp_path: Path) -> None:
    less = {name: tensor for name, tensor in state.items() if name != "detect.reg_preds.1.bias"}
    with pytest.raises(DetectorError, match=r"its YOLOv6 weights do not fit.*box_layers\.1"):
        load(saved(tmp_path / "a.pt", less))
