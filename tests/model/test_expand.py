"""Expansion of a file that names a backbone: the same network, without the other file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detector.model.detector import Definition, Detector, build, rebuild
from detector.model.model_file import check_model_file, read_model_file
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.checkpoint import load, read_metadata, save_weights

FAMILY = """
activation: ReLU
width_multiple: 0.5
depth_multiple: 2
values: {wide: 32, extra: 0, se: False}
variants: {a: {}, b: {values: {wide: 64, extra: 1}}}
backbone:
  - [-1, 1, Conv, [nc, 3, 2]]                        # 0-P1/2
  - [-1, 2, RepVGGStage, {c_out: wide, use_se: se}]  # 1-P2/4
  - [-1, extra, Conv, [wide, 3]]
  - [-1, 1, Conv, [wide, 3, 2]]                      # 3-P3/8
head: []
"""
NAMING = """
names: [x, é]
imgsz: 64
width_multiple: 0.25
preprocess: {mode: stretch}
variants:
  one: {anchors: [[8, 9.5]], backbone: {cfg: family.yaml, variant: a}}
  two: {anchors: [[1, 2]], backbone: {cfg: family.yaml, variant: b, activation: Hardswish}}
head:
  - [P3, 1, ConvAct, {c_out: nc}]
  - [-1, 1, nn.Upsample, ['None', 2]]
  - [[-1, P2], 1, Concat, [1]]
  - [-1, 1, Detect, [nc, anchors]]
"""


@pytest.fixture
def naming(tmp_path: Path) -> Path:
    (tmp_path / "family.yaml").write_text(FAMILY, encoding="utf-8")
    path = tmp_path / "naming.yaml"
    path.write_text(NAMING, encoding="utf-8")
    return path


def parts(model: Detector) -> list[object]:
    return [(str(module), row) for row, module in zip(model.plan, model.rows, strict=True)]


def test_text(naming: Path) -> None:
    assert build(naming, variant="one").definition.text == (
        """\
names: [x, é]
imgsz: 64
preprocess: {mode: stretch}
values: {left_out: 0}
variants: {one: {}}

backbone:
  - [-1, 1, Conv, {c_out: 8, kernel: 3, stride: 2, activation: ReLU}]
  - [-1, 4, RepVGGStage, {c_out: 16, use_se: false, activation: ReLU}]
  - [-1, left_out, Conv, {c_out: 16, kernel: 3, activation: ReLU}]
  - [-1, 1, Conv, {c_out: 16, kernel: 3, stride: 2, activation: ReLU}]

head:
  - [P3, 1, ConvAct, {c_out: 8}]
  - [-1, 1, nn.Upsample, {size: null, scale_factor: 2.0}]
  - [[-1, P2], 1, Concat, {dim: 1}]
  - [-1, 1, Detect, {nc: nc, anchors: [[8.0, 9.5]]}]
"""
    )


def test_text_without_variants(naming: Path) -> None:
    text = NAMING.replace("variants:\n", "").replace("  one: {anchors: [[8, 9.5]], ", "")
    text = "".join(line for line in text.splitlines(True) if "two:" not in line)
    naming.write_text(text.replace("variant: a}}", "variant: a}").replace("anchors]", "1]"))
    assert "variants" not in build(naming).definition.text


@pytest.mark.parametrize("variant", ["one", "two"])
def test_the_text_builds_the_same_network(naming: Path, variant: str) -> None:
    model = build(naming, variant=variant)
    again = rebuild(model.definition)
    assert parts(again) == parts(model)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert again.preprocess == model.preprocess
    assert again.definition == model.definition
    assert (again.names, again.definition.variant) == (("x", "é"), variant)


@pytest.mark.parametrize("variant", ["yolov5n", "repvgg-A0", "vovnet-27-slim", "vgg-16-bn"])
def test_packaged_files(variant: str) -> None:
    with torch.device("meta"):
        model = build("ssd300_neck", 2, variant)
        assert parts(rebuild(model.definition)) == parts(model)


def test_a_file_with_rows_is_stored_as_it_is() -> None:
    assert build("yolov5n").definition.text == read_model_file("yolov5n").file.text


@pytest.mark.parametrize(
    ("width", "word"), [("width_multiple: 0.25", "8"), ("width_multiple: 1", "8"), ("", "nc")]
)
def test_other_classes(naming: Path, width: str, word: str) -> None:
    """``nc`` stays a word wherever it is not multiplied."""
    naming.write_text(NAMING.replace("width_multiple: 0.25", width), encoding="utf-8")
    stored = build(naming, variant="one").definition
    assert f"[P3, 1, ConvAct, {{c_out: {word}}}]" in stored.text
    model = rebuild(Definition(stored.text, stored.path, stored.variant, ("a", "b", "c")))
    assert parts(model) == parts(build(naming, ["a", "b", "c"], "one"))
    assert model.head.nc == 3


@pytest.mark.parametrize("then", ["gone", "changed"])
def test_weights_need_no_family_file(naming: Path, tmp_path: Path, then: str) -> None:
    model = build(naming, variant="two").eval()
    save_weights(tmp_path / "a.safetensors", model)
    naming.unlink()
    if then == "gone":
        (tmp_path / "family.yaml").unlink()
    else:
        (tmp_path / "family.yaml").write_text("backbone: 0")
    found = load(tmp_path / "a.safetensors")
    assert found.definition == model.definition
    assert read_metadata(tmp_path / "a.safetensors").variant == "two"
    images = torch.rand(1, 3, 64, 96)
    for a, b in zip(found(images), model(images), strict=True):
        assert torch.equal(a, b)


def test_stored_text_that_names_a_file_is_refused(naming: Path) -> None:
    text = naming.read_text(encoding="utf-8")
    with pytest.raises(DetectorError) as caught:
        check_model_file(YamlFile(naming, text), "one")
    message = "backbone: names another file, 'family.yaml', which is not read here"
    assert str(caught.value) == f"{naming}:7: {message}"


def test_backbone_of_a_file_with_scales(tmp_path: Path) -> None:
    (tmp_path / "scaled.yaml").write_text(
        "scales: {n: [0.5, 0.25, 1024], m: [0.5, 1.0, 24]}\n"
        "backbone:\n"
        "  - [-1, 1, Conv, [64, 3, 2]]\n"
        "  - [-1, 2, C3k2, [64, False]]\n"
        "head: []\n"
    )
    naming = tmp_path / "naming.yaml"
    naming.write_text(
        "imgsz: 64\nnames: [a]\nbackbone: {cfg: scaled.yaml, variant: m}\n"
        "head:\n  - [-1, 1, Detect, [nc, 1]]\n"
    )
    model = build(naming)
    # Of 64 channels 24 are left, times 1; m's C3k2 have C3k in every row.
    conv, block = (row.arguments for row in model.plan[:2])
    assert conv["c_out"] == block["c_out"] == 24
    assert block["c3k"] is True
    assert parts(rebuild(model.definition)) == parts(model)
