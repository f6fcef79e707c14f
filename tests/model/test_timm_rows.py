"""A timm backbone in a model file: its rows, its errors with their lines, stored and rebuilt."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from detector.layers.repvgg import randomise_batch_norms
from detector.layers.timm_backbone import TimmBackbone
from detector.model.builder import Feature
from detector.model.cost import cost
from detector.model.deploy import deploy
from detector.model.detector import Detector, build
from detector.model.lint import find_contradictions, lint
from detector.model.model_file import read_model_file
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load, save_weights

TEXT = """
nc: 2
imgsz: 64
anchors: [[8, 8], [16, 16]]
depth_multiple: 1.0
width_multiple: 1.0
activation: ReLU
backbone: BACKBONE
head:
  - [P4, 1, Conv, [16, 1, 1]]
  - [[-1, P5], 1, Detect, [nc, anchors]]
"""
SHORT = "{timm: resnet18, out: [P4, P5]}"
ROWS = """
  - [-1, 1, TimmBackbone, {model: resnet18, out: [P4, P5]}]  # 0-P5/32
  - [0, 1, Index, [0]]                                       # 1-P4/16
  - [0, 1, Index, [1]]                                       # 2-P5/32"""


def written(folder: Path, backbone: str, more: str = "") -> Path:
    path = folder / "model.yaml"
    path.write_text(TEXT.lstrip().replace("BACKBONE", backbone) + more)
    return path


def outputs(model: Detector) -> list[torch.Tensor]:
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        raw: list[torch.Tensor] = model.eval()(image)
        return raw


@pytest.mark.parametrize("backbone", [SHORT, ROWS])
def test_rows(backbone: str, tmp_path: Path, no_network: list[str]):
    path = written(tmp_path, backbone)
    model = build(path)
    modules = ["TimmBackbone", "Index", "Index", "Conv", "Detect"]
    assert [row.module for row in model.plan] == modules
    assert [row.sources for row in model.plan] == [(-1,), (0,), (0,), (1,), (3, 2)]
    assert [row.channels for row in model.plan] == [0, 256, 512, 16, 0]
    assert [row.stride for row in model.plan] == [32, 16, 32, 16, 0]
    assert model.plan[0].outputs == (Feature(256, Fraction(16)), Feature(512, Fraction(32)))
    assert model.strides == (16, 32)
    assert model.max_stride == 32
    assert model.fixed_size_hw is None
    assert [tuple(raw.shape) for raw in outputs(model)] == [(1, 1, 4, 6, 7), (1, 1, 2, 3, 7)]
    assert lint(read_model_file(path), model) == []


def test_comments_are_linted(tmp_path: Path):
    path = written(tmp_path, ROWS.replace("1-P4/16", "1-P3/8"))
    (warning,) = find_contradictions(read_model_file(path), build(path))
    assert str(warning) == f"{path}:9: row 1 (Index) is P4/16, the comment says P3/8"


def test_cost_counts_its_row(tmp_path: Path):
    model = build(written(tmp_path, SHORT))
    before = cost(model, (64, 64)).rows[0]
    assert before.shapes == ((256, 4, 4), (512, 2, 2))
    assert before.params == sum(p.numel() for p in model.rows[0].parameters()) == 11_176_512
    # ResNet-18 takes 1,814,073,344 multiply-adds at 224 px, 512,000 of them in the classifier.
    assert before.macs == 1_813_561_344 * 64**2 // 224**2
    assert before.batch_norms == 20
    assert cost(deploy(model)[0], (64, 64)).rows[0].batch_norms == 0


def test_rebuilt_without_network(tmp_path: Path, no_network: list[str]):
    model = build(written(tmp_path, SHORT), ["a", "b"])
    randomise_batch_norms(model)
    save_weights(tmp_path / "a.safetensors", model)
    (tmp_path / "model.yaml").unlink()
    loaded = load(tmp_path / "a.safetensors")
    fused, report = deploy(loaded)
    assert report.difference_fp64 < 1e-12
    save_weights(tmp_path / "fused.safetensors", fused)
    deployed = load(tmp_path / "fused.safetensors")
    assert sum(p.numel() for p in deployed.parameters()) == report.params_after
    for first, second, third in zip(*map(outputs, (model, loaded, deployed)), strict=True):
        assert torch.equal(first, second)
        assert float((first - third).abs().max() / first.abs().max()) < 1e-5


def test_a_variant(tmp_path: Path):
    table = "variants:\n  a: {}\n  b:\n    backbone:\n      {timm: resnet81, out: [P4, P5]}\n"
    path = written(tmp_path, SHORT, table)
    assert isinstance(build(path, variant="a").rows[0], TimmBackbone)
    with pytest.raises(DetectorError) as caught:
        build(path, variant="b")
    assert str(caught.value) == (
        f"{path}:14: row 0 (TimmBackbone): argument 'model': unknown timm model 'resnet81'; "
        "did you mean 'resnet18'?"
    )


def test_one_size(tmp_path: Path):
    """A Swin transformer's windows are made for the file's size."""
    name = "swin_tiny_patch4_window7_224"
    model = build(written(tmp_path, f"{{timm: {name}, out: [P4, P5]}}"))
    assert model.fixed_size_hw == (64, 64)
    with pytest.raises(DetectorError) as caught:
        model.check_size((64, 96))
    assert str(caught.value) == (
        "input size 64×96: the network takes 64×64 only, its backbone is made for it"
    )


@pytest.mark.parametrize(
    ("backbone", "line", "message"),
    [
        ("{timm: resnet18}", 7, "key 'out' is missing"),
        ("{timm: resnet18, out: []}", 7, "out: expected 1 or more values, found []"),
        (
            "{timm: resnet18, out: [P4], pretrained: true}",
            7,
            "unknown key 'pretrained'; known keys: timm, out, drop_path_rate",
        ),
        (
            "{timm: resnet18, cfg: repvgg, out: [P4]}",
            7,
            "unknown key 'cfg'; known keys: timm, out, drop_path_rate",
        ),
        ("\n  timm: 18\n  out: [P4]", 8, "timm: expected a word, found 18"),
        (
            "\n  timm: hf-hub:me/mine\n  out: [P4, P5]",
            7,
            "row 0 (TimmBackbone): argument 'model': expected a name of timm.list_models(), found "
            "'hf-hub:me/mine'; models of a hub or a folder are not built",
        ),
        (
            "{timm: resnet18, out: [P3, P4]}",
            10,
            "row 4 (Detect): 'from' P5: no backbone row has stride 32; their strides are 8, 16",
        ),
        (
            "{timm: resnet18, out: [P4, P5], drop_path_rate: 1.5}",
            7,
            "row 0 (TimmBackbone): argument 'drop_path_rate': expected a number of at least 0 "
            "below 1 or None, found 1.5",
        ),
        (
            ROWS.replace("Index, [1]", "Index, [2]"),
            10,
            "row 2 (Index): argument 'index': expected at most 1, row 0 has 2 outputs; found 2",
        ),
        (
            ROWS.replace("[0, 1, Index, [1]]", "[1, 1, Index, [1]]"),
            10,
            "row 2 (Index): picks one of several outputs, row 1 has one only",
        ),
        (
            ROWS.replace("[0, 1, Index, [1]]", "[0, 1, Conv, [8]]"),
            10,
            "row 2 (Conv): row 0 has 2 outputs, expected a row of Index that reads it",
        ),
        (
            ROWS.replace("[-1, 1, Timm", "[-1, 2, Timm"),
            8,
            "row 0 (TimmBackbone): 'number' must be 1 here, found 2",
        ),
        (
            ROWS.replace("[0, 1, Index, [1]]", "[0, 2, Index, [1]]"),
            10,
            "row 2 (Index): 'number' must be 1 here, found 2",
        ),
    ],
)
def test_errors(backbone: str, line: int, message: str, tmp_path: Path, no_network: list[str]):
    path = written(tmp_path, backbone)
    with pytest.raises(DetectorError) as caught:
        build(path)
    assert str(caught.value) == f"{path}:{line}: {message}"


def test_a_file_that_names_it_is_not_named(tmp_path: Path):
    written(tmp_path, SHORT)
    (tmp_path / "other.yaml").write_text(
        "backbone: {cfg: model.yaml}\nhead: [[-1, 1, Detect, [nc, 3]]]\n"
    )
    with pytest.raises(DetectorError) as caught:
        build(tmp_path / "other.yaml")
    assert str(caught.value) == (
        f"{tmp_path}/other.yaml:1: backbone: model.yaml names its backbone itself, expected a "
        "file with rows"
    )


def test_too_large(tmp_path: Path):
    with pytest.raises(DetectorError) as caught:
        build(written(tmp_path, "{timm: vit_giant_patch14_224, out: [P4, P5]}"))
    assert str(caught.value).startswith(f"{tmp_path}/model.yaml:7: row 0 (TimmBackbone): ")
