"""``info``: what it prints and what it returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.cli.info import COLUMNS, info
from detector.model.cost import cost
from detector.model.detector import build
from detector.settings.inform import InfoSettings
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import save_weights

TEXT = """\
nc: 4
imgsz: 64
anchors:
  - [10, 13, 16, 30]
  - [30, 61, 62, 45]
backbone:
  - [-1, 1, RepVGGBlock, [16, 3, 2]]  # 0-P1/2
  - [-1, 2, RepVGGBlock, [16]]        # 1-P2/4
head:
  - [-1, 1, nn.Upsample, [None, 0.5]]
  - [[-1, 1], 1, Detect, [nc, anchors]]
"""


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(TEXT)
    return file


def test_metrics(cfg: Path) -> None:
    metrics = info(InfoSettings(cfg=str(cfg)))
    assert json.loads(json.dumps(metrics)) == metrics
    # Row 0: 16·3·(9 + 1) + 4·16; row 1, twice: 16·16·(9 + 1) + 6·16; head: 2 · (16·18 + 18).
    head = 2 * (16 * 18 + 18)
    assert metrics["train_params"] == 544 + 2 * 2656 + head
    # A fused block is one kernel and one bias.
    assert metrics["deploy_params"] == (16 * 27 + 16) + 2 * (16 * 16 * 9 + 16) + head
    assert metrics["macs"] == sum(row["macs"] for row in metrics["rows"])
    assert metrics["macs"] - metrics["deploy_macs"] == 32 * 32 * 16 * (3 + 2 * 16)  # 1×1 branches
    assert metrics["size_hw"] == [64, 64]
    assert metrics["rows"][1] == {
        "index": 1,
        "from": -1,
        "number": 2,
        "module": "RepVGGBlock",
        "args": {"c_out": 16},
        "shape": [16, 32, 32],
        "stride": 2,
        "params": 5312,
        "batch_norms": 2 * 3,  # two blocks of three branches
        "macs": 2 * 32 * 32 * 16 * 16 * 10,
        "winograd_muls": 2 * 32 * 32 * 16 * 16 * (4 + 1),  # 4/9 of the 3×3 branch's 9
        "memory_access": 2 * (2 * 32 * 32 * (16 + 16) + 16 * 16 * (9 + 1)),
        "peak_activation_bytes": 3 * 32 * 32 * 16 * 4,  # input and two of three branches
    }
    assert metrics["rows"][3]["from"] == [-1, 1]
    assert metrics["rows"][3]["shape"] == [[2, 16, 16, 9], [2, 32, 32, 9]]
    assert metrics["rows"][3]["stride"] is None
    assert metrics["warnings"] == [
        f"{cfg}:1: depth_multiple is missing: 1",
        f"{cfg}:1: width_multiple is missing: 1",
        f"{cfg}:5: anchors do not grow with the strides: larger at stride 2 than at 4",
        f"{cfg}:8: row 1 (RepVGGBlock) is P1/2, the comment says P2/4",
    ]


def test_print(cfg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = info(InfoSettings(cfg=str(cfg), imgsz=128, classes=2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(cfg)
    assert lines[1].split() == " ".join(COLUMNS).split()
    assert lines[4].split() == [
        *("1", "-1", "2", "RepVGGBlock", "c_out=16", "16×64×64", "2", "5,312"),
        f"{metrics['rows'][1]['macs']:,}",
        f"{3 * 64 * 64 * 16 * 4 / 1e6:.3f}",
    ]
    assert lines[6].split()[-5:-1] == ["2×32×32×7", "2×64×64×7", "476", "1,146,880"]
    (totals,) = (line for line in lines if line.split()[:1] == ["deployed"])
    assert totals.split()[1] == f"{metrics['deploy_params']:,}"
    assert [line for line in lines if line.startswith("warning: ")] == [
        f"warning: {warning}" for warning in metrics["warnings"]
    ]


def test_variant_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = info(InfoSettings(cfg="yolov5_repvgg", variant="n", imgsz=64))
    assert capsys.readouterr().out.splitlines()[0].endswith("yolov5_repvgg.yaml, variant n")
    assert metrics["rows"][7]["shape"] == [128, 2, 2]


def test_named_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of a named backbone are listed; a warning names the file of its row."""
    family, file = tmp_path / "family.yaml", tmp_path / "small.yaml"
    backbone, head = TEXT.index("backbone:"), TEXT.index("head:")
    family.write_text(f"variants: {{a: {{}}}}\n{TEXT[backbone:head]}head: []\n")
    naming = "backbone: {cfg: family.yaml, variant: a}\n"
    file.write_text(f"{TEXT[:backbone]}{naming}{TEXT[head:]}".replace("[-1, 1], 1", "[-1, P1], 1"))
    metrics = info(InfoSettings(cfg=str(file)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file}, backbone of {family}, variant a"
    assert [row["module"] for row in metrics["rows"][:2]] == ["RepVGGBlock"] * 2
    assert lines[6].split()[1:3] == ["[-1,", "P1]"]
    text = "row 1 (RepVGGBlock) is P1/2, the comment says P2/4"
    assert metrics["warnings"][0] == f"{family}:4: {text}"
    assert all(warning.startswith(f"{file}:") for warning in metrics["warnings"][1:])


def test_size_between_strides(cfg: Path) -> None:
    with pytest.raises(DetectorError) as caught:
        info(InfoSettings(cfg=str(cfg), imgsz=33))
    assert (
        str(caught.value)
        == "imgsz 33 is not a multiple of the network's stride 4; the nearest is 32"
    )


def test_compared(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Further files with and without a variant, at one size, in the table, metrics and picture."""
    found = info(
        InfoSettings(
            cfg=str(cfg),
            imgsz=64,
            classes=2,
            compare=("yolov5_repvgg:n", str(cfg)),
            plot=tmp_path / "a.png",
        )
    )
    other, same = found["compared"]
    assert other == {
        "name": "yolov5_repvgg:n",
        **{key: other[key] for key in found if key not in ("rows", "warnings", "compared")},
    }
    assert other["train_params"] == cost(build("yolov5_repvgg", 2, "n"), (64, 64)).params
    assert same == {"name": str(cfg), **{key: found[key] for key in same if key != "name"}}
    lines = capsys.readouterr().out.splitlines()
    assert sum(" train " in line for line in lines) == 3
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plot": Path("a.jpg")}, "--plot: expected a name that ends in .png, found a.jpg"),
        ({"compare": ("yolov5_repvgg:q",)}, "unknown variant 'q'; the file has: n, s, m, l"),
        ({"compare": ("yolov5_repvg",)}, "yolov5_repvg: no such file; did you mean 'yolov5_"),
    ],
)
def test_bad_flags(cfg: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        info(InfoSettings(cfg=str(cfg), **settings))
    assert message in str(caught.value)


def test_measure(cfg: Path) -> None:
    assert info(InfoSettings(cfg=str(cfg), measure=1))["deploy_ms"] > 0


OSA = """\
nc: 2
imgsz: 64
anchors: [[10, 13]]
backbone:
  - [-1, 1, OSA, {c_out: 8, width: 4, convs: 2}]
  - [-1, 1, nn.MaxPool2d, [2]]
  - [-1, 2, DenseLayer, [4, 6]]
  - [-1, 1, nn.MaxPool2d, [2]]
head:
  - [-1, 1, Detect, [nc, anchors]]
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Aggregations whose weights are 1, 2, 3, … by source."""
    (tmp_path / "osa.yaml").write_text(OSA)
    model = build(tmp_path / "osa.yaml")
    # A module's input of 3 channels and two convolutions of 4; 8 channels and one layer's 4; the
    # head reads those of both layers, behind a pool.
    for path, widths in (
        ("rows.0.0.concat.conv", (3, 4, 4)),
        ("rows.2.1.reduce.conv", (8, 4)),
        ("rows.4.m.0", (8, 4, 4)),
    ):
        weight = model.get_submodule(path).weight  # type: ignore[union-attr]
        parts = [torch.full((width,), -1.0 - i) for i, width in enumerate(widths)]
        with torch.no_grad():
            weight.copy_(torch.cat(parts).view(1, -1, 1, 1).expand_as(weight))  # type: ignore
    save_weights(tmp_path / "osa.safetensors", model)
    (tmp_path / "osa.yaml").unlink()  # the file holds its rows
    return tmp_path / "osa.safetensors"


def test_connectivity(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    map_file = tmp_path / "map.png"
    metrics = info(InfoSettings(weights=weights, connectivity=map_file))
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics["connectivity"] == [
        {
            "convolution": "rows.0.0.concat.conv",
            "widths": [3, 4, 4],
            "weights": [1, 2, 3],
            "normalized": [1 / 3, 2 / 3, 1],
        },
        {
            "convolution": "rows.2.1.reduce.conv",
            "widths": [8, 4],
            "weights": [1, 2],
            "normalized": [0.5, 1],
        },
        {
            "convolution": "rows.4.m.0",
            "widths": [8, 4, 4],
            "weights": [1, 2, 3],
            "normalized": [1 / 3, 2 / 3, 1],
        },
    ]
    assert "rows.0.0.concat.conv          3  0.33 0.67 1.00" in capsys.readouterr().out
    assert map_file.read_bytes().startswith(b"\x89PNG")


def test_costs_of_weights(weights: Path) -> None:
    metrics = info(InfoSettings(weights=weights))
    assert metrics["train_params"] == sum(row["params"] for row in metrics["rows"])
    assert "connectivity" not in metrics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "--cfg is missing, or --weights"),
        (
            {"cfg": "yolov5n", "weights": Path("a.safetensors")},
            "--cfg and --weights: expected one of both",
        ),
        (
            {"weights": Path("a.safetensors"), "variant": "n"},
            "--variant goes with --cfg; --weights has its network in the file",
        ),
        (
            {"weights": Path("a.safetensors"), "classes": 2},
            "--classes goes with --cfg; --weights has its network in the file",
        ),
        (
            {"cfg": "yolov5n", "connectivity": Path("a.png")},
            "--connectivity: expected --weights FILE, random ones show nothing",
        ),
        (
            {"weights": Path("a.safetensors"), "connectivity": Path("a.jpg")},
            "--connectivity: expected a name that ends in .png, found a.jpg",
        ),
    ],
)
def test_flags_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        info(InfoSettings(**settings))
    assert str(caught.value) == message


def test_nothing_is_concatenated(cfg: Path, tmp_path: Path) -> None:
    file = tmp_path / "plain.safetensors"
    save_weights(file, build(cfg))
    with pytest.raises(DetectorError) as caught:
        info(InfoSettings(weights=file, connectivity=tmp_path / "map.png"))
    assert str(caught.value) == (
        f"{file}: --connectivity: no convolution of this network reads concatenated features"
    )
    assert not (tmp_path / "map.png").exists()
