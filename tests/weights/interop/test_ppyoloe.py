"""PP-YOLOE's weights: every name has a place, published sizes are built from a ``.pdparams``."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from detector.weights.interop.blocks import COUNTER
from detector.weights.interop.ppyoloe import BINS, STEM, class_names, is_ppyoloe, with_our_names
from detector.weights.transfer import start_from

CFG = Path(__file__).parents[3] / "cfg"
IMAGENET_MEAN = (123.675, 116.28, 103.53)


@pytest.fixture(scope="module")
def plus(shapes_of: Callable[..., Any], random_state: Callable[..., Any]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = random_state(shapes_of("ppyoloe_plus_s"))
    return {**state, BINS: torch.arange(17.0).view(1, 17, 1, 1)}


@pytest.fixture(scope="module")
def plain(plus: dict[str, Tensor]) -> dict[str, Tensor]:
    """PP-YOLOE has the same names without the factors of the 1×1 branches."""
    return {name: tensor for name, tensor in plus.items() if not name.endswith("alpha")}


def saved(path: Path, state: dict[str, Tensor], protocol: int = 4) -> Path:
    """A dictionary of arrays as Paddle writes it."""
    table = {"StructuredToParameterName@@": {name: f"w_{i}" for i, name in enumerate(state)}}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    path.write_bytes(pickle.dumps({**arrays, **table}, protocol))
    return path


def test_every_name_has_a_place(plus: dict[str, Tensor]) -> None:
    assert is_ppyoloe(plus)
    model = build("ppyoloe", variant="s")
    ours = with_our_names(plus, model)
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    counters = sum(name.endswith(COUNTER) for name in ours)
    assert len(ours) - counters == len(plus) - 1  # all but the bins


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_network_is_built_from_its_weights(
    protocol: int, plus: dict[str, Tensor], tmp_path: Path
) -> None:
    model = load(saved(tmp_path / "a.pdparams", plus, protocol))
    assert model.definition.variant == "s"
    assert model.names[0] == "person"
    assert model.preprocess.mode == "stretch"
    assert model.preprocess.mean_rgb == (0, 0, 0)
    assert model.preprocess.scale_rgb == (255, 255, 255)
    state = model.state_dict()
    for ours, theirs in {
        "rows.0.conv.weight": STEM,
        "rows.3.1.chain.0.conv2.branches.1.alpha": "backbone.stages.0.blocks.0.conv2.alpha",
        "rows.5.1.attention.fc.bias": "backbone.stages.2.attn.fc.bias",
        "rows.7.chain.1.1.bn.running_mean": "neck.fpn_stages.0.0.convs.spp.conv.bn._mean",
        "rows.19.bn.running_var": "neck.pan_routes.0.bn._variance",
        "rows.22.class_layers.0.bias": "yolo_head.pred_cls.2.bias",  # finest level
        "rows.22.box_convs.2.fc.bias": "yolo_head.stem_reg.0.fc.bias",
    }.items():
        assert torch.equal(state[ours], plus[theirs]), ours


def test_without_factors_they_are_one(plain: dict[str, Tensor], tmp_path: Path) -> None:
    model = load(saved(tmp_path / "a.pdparams", plain))
    factors = [p.tolist() for n, p in model.named_parameters() if n.endswith("alpha")]
    assert factors == [[1]] * 6  # pairs of s: 1, 2, 2, 1
    assert model.preprocess.mode == "stretch"
    assert model.preprocess.mean_rgb == IMAGENET_MEAN


@pytest.mark.parametrize("learnt", [True, False])
@torch.no_grad()
def test_rows_without_factors(learnt: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The sum of a 3×3 and α times a 1×1 branch is the same where the batch norm has taken α in."""
    state: dict[str, Tensor] = request.getfixturevalue("plus" if learnt else "plain")
    path = saved(tmp_path / "a.pdparams", state)
    text = (CFG / "ppyoloe.yaml").read_text()
    (tmp_path / "plain.yaml").write_text(
        re.sub(r"(CSPResStage, {c_out: \d+)", r"\1, alpha: False", text)
    )
    model = build(str(tmp_path / "plain.yaml"), variant="s")
    theirs = load(path)
    model.preprocess = theirs.preprocess
    report = start_from(model, path)
    assert (report.skipped, report.missing) == ({}, ())
    for row in (3, 4):
        before, after = (net.double().eval().rows[row][1].chain[0].conv2 for net in (theirs, model))
        x = torch.rand(1, before.branches[0].conv.in_channels, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(after(x), before(x), atol=1e-5, rtol=1e-5)
        assert hasattr(before.branches[1], "alpha") and not hasattr(after.branches[1], "alpha")


def test_rows_of_the_neck_with_factors(plus: dict[str, Tensor], tmp_path: Path) -> None:
    text = (CFG / "ppyoloe.yaml").read_text()
    (tmp_path / "more.yaml").write_text(
        re.sub(r"(CSPPANStage, {c_out: \d+)", r"\1, alpha: True", text)
    )
    model = build(str(tmp_path / "more.yaml"), variant="s")
    report = start_from(model, saved(tmp_path / "a.pdparams", plus))
    assert (report.skipped, report.missing) == ({}, ())
    assert model.state_dict()["rows.11.chain.0.conv2.branches.1.alpha"].tolist() == [1]


def test_start_weights_for_other_classes(plus: dict[str, Tensor], tmp_path: Path) -> None:
    """Of the classes, the one of the same name is taken: person is COCO's class 0."""
    model = build("ppyoloe", ["cell", "person"], "s")
    report = start_from(model, saved(tmp_path / "a.pdparams", plus))
    assert len(report.partly_loaded) == 6  # weight and bias of three levels
    assert not report.skipped
    assert not report.missing
    bias = model.head.class_layers[0].bias
    assert float(bias[1].detach()) == float(plus["yolo_head.pred_cls.2.bias"][0])


def test_names_are_known_by_their_number_only() -> None:
    assert class_names({"yolo_head.pred_cls.0.bias": torch.zeros(80)})[:2] == ("person", "bicycle")
    assert class_names({"yolo_head.pred_cls.0.bias": torch.zeros(365)}) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {STEM: torch.zeros(12, 3, 3, 3)},
            "PP-YOLOE with 12 channels in its stem, expected 16 (s), 24 (m), 32 (l), 40 (x)",
        ),
        (
            {BINS: torch.arange(-2.0, 15.0)},
            f"its PP-YOLOE weights do not fit: PP-YOLOE weights: {BINS!r} is not 0, 1, …, 16",
        ),
    ],
)
def test_weights_that_are_refused(
    change: dict[str, Tensor], message: str, plus: dict[str, Tensor], tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.pdparams", {**plus, **change})
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_tensor_too_few(plus: dict[str, Tensor], tmp_path: Path) -> None:
    less = {name: tensor for name, tensor in plus.items() if name != "yolo_head.pred_reg.1.bias"}
    with pytest.raises(DetectorError, match=r"its PP-YOLOE weights do not fit.*box_layers\.1"):
        load(saved(tmp_path / "a.pdparams", less))
