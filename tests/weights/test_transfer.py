"""Start weights: what is taken, what is left, and what the report says."""

from pathlib import Path

import pytest
import torch

from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.checkpoint import save_weights
from detector.weights.transfer import start_backbone_from, start_from, transfer

TINY = """
variant: wide
variants:
  narrow: {width_multiple: 0.5}
  wide: {width_multiple: 1.0}
anchors: ANCHORS
backbone:
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 1]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [-1, 1, C3, [16]]
  - [[1, 3], 1, Detect, [nc, anchors]]
"""
ANCHORS = "[[10, 13, 16, 30], [30, 61, 62, 45]]"
NAMES = ("cat", "dog é", "a, b: c")


def tiny(names=NAMES, variant: str | None = "narrow", anchors: str = ANCHORS) -> Detector:
    file = YamlFile(Path("tiny.yaml"), TINY.replace("ANCHORS", anchors))
    model = build_model_file(check_model_file(file, variant), names)
    randomise_batch_norms(model)
    return model


@pytest.fixture
def model() -> Detector:
    return tiny()


def test_a_transfer_to_other_classes_takes_all_but_them(model: Detector):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = tiny(("one",))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    report = transfer(other, state)
    head = {f"rows.4.m.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")}
    assert (set(report.partly_loaded), report.skipped, report.missing) == (head, {}, ())
    own = other.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in report.loaded)
    # Two anchors, each x, y, w, h, objectness, then 1 class where the start weights have 3.
    for name in report.partly_loaded:
        assert torch.equal(own[name][0:5], state[name][0:5])
        assert torch.equal(own[name][6:11], state[name][8:13])
        assert torch.equal(own[name][[5, 11]], before[name][[5, 11]])
    assert report.lines() == [
        f"start weights: {len(state) - 4} of {len(state)} tensors loaded, 4 of the head "
        "except for the classes"
    ]


def test_the_same_classes_in_another_order_are_matched_by_name(model: Detector):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = tiny(NAMES[1:] + NAMES[:1])
    report = transfer(other, state, names=NAMES)
    own = other.state_dict()
    # Two anchors of x, y, w, h, objectness and 3 classes; class 0 here is class 1 there, and so on.
    for name in report.partly_loaded:
        rows = [0, 1, 2, 3, 4, 6, 7, 5, 8, 9, 10, 11, 12, 14, 15, 13]
        assert torch.equal(own[name], state[name][rows])
    assert report.lines() == [
        f"start weights: {len(state) - 4} of {len(state)} tensors loaded, 4 of the head with 3 of "
        "3 classes matched by name"
    ]


def test_classes_that_both_have_are_taken_and_the_others_start_anew(model: Detector):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = tiny(("cow", NAMES[1]))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    report = transfer(other, state, names=NAMES)
    own = other.state_dict()
    for name in report.partly_loaded:  # the second anchor: from row 7 here, from row 8 there
        assert torch.equal(own[name][7:12], state[name][8:13])
        assert torch.equal(own[name][13], state[name][14])
        assert torch.equal(own[name][12], before[name][12])
    assert "4 of the head with 1 of 2 classes matched by name" in report.lines()[0]


def test_no_class_of_the_start_weights(model: Detector):
    """Boxes and objectness of the head are taken all the same."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = transfer(tiny(("cow", "hen")), state, names=NAMES)
    assert report.lines() == [
        f"start weights: {len(state) - 4} of {len(state)} tensors loaded, 4 of the head "
        "without the classes: none of the 2 is in the file by name"
    ]


@pytest.mark.parametrize("names", [(), ("0", "1", "2"), ("class0", "class1", "class2")])
def test_without_names_classes_are_taken_by_number(model: Detector, names):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = tiny(("x", "y", "z"))
    report = transfer(other, state, names=names)
    assert report.partly_loaded == ()
    assert report.lines() == [
        f"start weights: {len(state)} of {len(state)} tensors loaded",
        "  classes by number: there are no names to match them by",
    ]


def test_the_same_names_say_nothing(model: Detector):
    state = model.state_dict()
    lines = transfer(tiny(), state, names=NAMES).lines()
    assert lines == [f"start weights: {len(state)} of {len(state)} tensors loaded"]


def test_a_checkpoint_brings_its_names(model: Detector, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_weights(path, model)
    other = tiny(NAMES[::-1])
    report = start_from(other, path)
    assert report.classes is not None
    assert (report.classes.own, report.classes.start) == ((0, 1, 2), (2, 1, 0))
    assert torch.equal(
        other.state_dict()["rows.4.m.0.bias"][5], model.state_dict()["rows.4.m.0.bias"][7]
    )


def test_rows_of_other_anchors_are_skipped(model: Detector):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = tiny(("one",), anchors="[[11, 13, 16, 30], [30, 61, 62, 45]]")
    report = transfer(moved, state, keep_fitted=True)
    assert report.partly_loaded == ()
    assert (
        report.skipped["rows.4.m.0.weight"] == "is 16×8×1×1, expected 12×8×1×1"
    )  # 2 · (5 + classes)
    three = tiny(("one",), anchors="[[10, 13, 16, 30, 8, 9], [30, 61, 62, 45, 8, 9]]")
    assert transfer(three, state).partly_loaded == ()


def test_a_transfer_copies(model: Detector):
    other = tiny()
    state = model.state_dict()
    transfer(other, state)
    state["rows.0.conv.weight"].zero_()
    assert other.state_dict()["rows.0.conv.weight"].abs().sum() > 0


def test_a_transfer_brings_fitted_anchors(model: Detector):
    other = tiny(anchors="2")
    transfer(other, model.state_dict())
    assert other.head.fitted
    assert torch.equal(other.head.anchors_wh, model.head.anchors_wh)


def test_a_transfer_reports_what_has_no_counterpart(model: Detector):
    rest = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(1)}
    state = {**model.state_dict(), **rest, "rows.1.bn.bias": torch.ones(3)}
    del state["rows.0.bn.bias"]
    report = transfer(tiny(), state)
    assert report.skipped == {
        "rows.1.bn.bias": "is 3, expected 8",
        **dict.fromkeys(rest, "has no place in this network"),
    }
    assert report.missing == ("rows.0.bn.bias",)
    assert report.lines()[1:] == [
        "  skipped rows.1.bn.bias: is 3, expected 8",
        "  skipped fc.weight and 1 more: has no place in this network",
        "  not in the start weights: rows.0.bn.bias",
    ]


def test_a_long_report_is_cut(model: Detector):
    state = {"rows.0.bn.bias": torch.ones(8), **{f"x{i}": torch.ones(1) for i in range(20)}}
    lines = transfer(model, state).lines()
    assert len(lines) == 9
    missing = len(model.state_dict()) - 1
    assert lines[-1] == f"  and {1 + missing - 7} more"  # those without a place are one line


def test_a_transfer_of_nothing_is_an_error(model: Detector):
    with pytest.raises(DetectorError, match="none of its 1 weights fits this network; "):
        transfer(model, {"fc.bias": torch.ones(1)})


STARTS = [start_from, start_backbone_from]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "no YOLOv5 network with its YAML in this checkpoint"),
        (
            {"fc.bias": torch.ones(1), "fc.weight": torch.ones(1)},
            "none of its 2 weights fits this network; they belong to another model file",
        ),
        # RepVGG blocks' and Conv's first convolutions: C3 has its own inside.
        (
            {"L2Norm.weight": torch.ones(1), "conf.0.weight": torch.ones(1, 1, 1, 1)},
            "SSD weights: expected 3 convolutions, found 0",
        ),
    ],
)
def test_errors_name_the_file(model: Detector, tmp_path: Path, start, state: dict, message: str):
    path = tmp_path / "a.pth"
    torch.save(state, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DetectorError) as caught:
        start(model, path)
    assert str(caught.value) == f"{path}: {message}"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("start", STARTS)
def test_a_missing_file(model: Detector, tmp_path: Path, start):
    path = tmp_path / "a.safetensors"
    with pytest.raises(DetectorError) as caught:
        start(model, path)
    assert str(caught.value) == f"{path}: no such file; expected weights"


def test_own_weights_as_a_backbone_s_bring_the_backbone_alone(model: Detector, tmp_path: Path):
    path = tmp_path / "best.safetensors"
    save_weights(path, model)
    other = tiny(anchors="2")
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    report = start_backbone_from(other, path)
    own, state = other.state_dict(), model.state_dict()
    rest = {name for name in own if name.startswith(("rows.3.", "rows.4."))}  # neck and head
    assert set(report.missing) == rest
    assert (set(report.loaded), report.skipped) == (own.keys() - rest, {})
    assert all(torch.equal(own[name], state[name]) for name in report.loaded)
    assert all(torch.equal(own[name], before[name]) for name in rest)
    assert not other.head.fitted
    # All the same weights bring the head where they start the whole network.
    assert start_from(other, path).missing == ()
    assert other.head.fitted


@pytest.mark.parametrize("start", STARTS)
def test_deployed_weights_are_no_start(model: Detector, tmp_path: Path, start):
    path = tmp_path / "deployed.safetensors"
    save_weights(path, fuse_modules(model))
    with pytest.raises(DetectorError) as caught:
        start(tiny(), path)
    assert str(caught.value) == (
        f"{path}: is deployed: its branches and batch norms are fused and cannot be trained; "
        "use the checkpoint that it was deployed from"
    )


@pytest.mark.parametrize("start", STARTS)
def test_own_weights_are_fitted_to_the_input(model: Detector, tmp_path: Path, start):
    """Pixels over 255 here and over 51 there: the first weights are a fifth of theirs."""
    path = tmp_path / "a.safetensors"
    model.preprocess = model.preprocess.model_copy(update={"scale_rgb": (51.0,) * 3})
    save_weights(path, model)
    other = tiny()
    start(other, path)
    first = "rows.0.conv.weight"
    torch.testing.assert_close(other.state_dict()[first], model.state_dict()[first] * 5)
    second = "rows.1.conv.weight"
    assert torch.equal(other.state_dict()[second], model.state_dict()[second])


def test_a_head_alone_is_no_backbone(model: Detector, tmp_path: Path):
    path = tmp_path / "head.pth"
    torch.save({n: t for n, t in model.state_dict().items() if n.startswith("rows.4.")}, path)
    with pytest.raises(DetectorError, match=r"head\.pth: none of its .* weights fits this network"):
        start_backbone_from(model, path)


def test_a_model_file_s_anchors_are_kept(tmp_path: Path):
    """Anchors of start weights are used only if the model file gives no more than their number."""
    weights = tmp_path / "a.safetensors"
    save_weights(weights, tiny(anchors="[[1, 2, 3, 4], [5, 6, 7, 8]]"))
    model = tiny()
    report = start_from(model, weights)
    assert report.skipped == {"rows.4.anchors_wh": "the model file has anchors of its own"}
    assert model.head.anchors_wh[0, 0].tolist() == [10, 13]
    counted = tiny(anchors="2")
    assert start_from(counted, weights).skipped == {}
    assert counted.head.anchors_wh[0, 0].tolist() == [1, 2]
    assert counted.head.fitted
