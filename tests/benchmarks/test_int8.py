"""The table of networks in INT8: by hand, and made of tiny networks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from detector.benchmarks.int8 import benchmark, training_settings
from detector.benchmarks.int8_report import Int8Row, table
from detector.benchmarks.settings import Int8BenchmarkSettings
from detector.cli import run_tool
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.checkpoint import save_weights
from tests.engine.conftest import TINY_SSD

ROW: dict[str, Any] = {
    "network": "c3",
    "format": "onnx",
    "way": "trained",
    "scales": "layer",
    "metric": "AP",
    "before": 0.5,
    "after": 0.48,
    "change": (-0.03, 0.001),
    "ms": 12.345,
    "megabytes": 1.239,
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_by_hand() -> None:
    """0.48 − 0.5 = −0.02; minus signs are long ones."""
    head, rule, row, other = table(
        [Int8Row(**ROW), Int8Row(**{**ROW, "way": "float", "scales": "", "change": None})]
    ).splitlines()
    assert cells(head)[4:6] == ["AP before", "AP after"]
    assert set(rule) == {"|", "-"}
    assert cells(row) == [
        *("c3", "onnx", "trained", "layer", "0.5000", "0.4800"),
        *("−0.0200, −0.0300 to +0.0010", "12.3", "1.24"),
    ]
    assert cells(other)[2:4] == ["float", "–"]
    assert cells(other)[6] == "−0.0200"


def test_one_network(
    finder: Path, finder_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In float, and with one scale a layer; the finder loses little in 8 bits."""
    markdown, metrics = tmp_path / "int8.md", tmp_path / "int8.json"
    words = ["--networks", str(finder), "--data", str(finder_data), "--formats", "onnx"]
    words += ["--scales", "layer", "--qat-epochs", "0", "--rounds", "1", "--threads", "1"]
    words += ["--folder", str(tmp_path / "runs"), "--markdown", str(markdown)]
    assert run_tool("benchmark", ["int8", *words, "--json", str(metrics)]) == 0
    rows = json.loads(metrics.read_text())["rows"]
    assert [(row["network"], row["way"], row["scales"]) for row in rows] == [
        ("finder", "float", ""),
        ("finder", "trained", "layer"),
    ]
    assert rows[0]["before"] == rows[0]["after"] == pytest.approx(1)
    assert rows[1]["after"] >= 0.9
    assert all(row["ms"] > 0 for row in rows)
    assert rows[1]["change"] is not None
    lines = markdown.read_text().splitlines()
    assert len(lines) == 4
    assert "\n".join(lines) in capfd.readouterr().out


def test_training_has_what_the_head_has(finder: Path, tmp_path: Path) -> None:
    """The preset's mosaic is no setting of SSD's head; its small steps are."""
    ssd = tmp_path / "ssd.safetensors"
    save_weights(ssd, build_model_file(check_model_file(YamlFile(Path("a.yaml"), TINY_SSD))))
    asked = Int8BenchmarkSettings(networks=("a",), data="a", qat_epochs=3, imgsz=(64, 64))
    for weights, mosaic in ((finder, 0.0), (ssd, None)):
        settings = training_settings(asked, weights, tmp_path, "layer")
        assert getattr(settings, "mosaic", None) == mosaic
        assert (settings.learning_rate, settings.epochs) == (0.0005, 3)
        assert (settings.qat, settings.per_tensor, settings.weights) == (True, True, weights)


@pytest.mark.slow
def test_all_files_of_two_networks(finder: Path, finder_data: Path, tmp_path: Path) -> None:
    """In float, and both ways with both kinds of scales: five files each."""
    settings = Int8BenchmarkSettings(
        networks=(f"one={finder}", str(finder)),
        data=str(finder_data),
        formats=("onnx",),
        qat_epochs=1,
        rounds=1,
        folder=tmp_path,
    )
    rows = benchmark(settings)["rows"]
    assert [row["network"] for row in rows] == ["one"] * 5 + ["finder"] * 5
    assert [(row["way"], row["scales"]) for row in rows[:5]] == [
        ("float", ""),
        ("trained", "channel"),
        ("trained for INT8", "channel"),
        ("trained", "layer"),
        ("trained for INT8", "layer"),
    ]


@pytest.mark.slow
def test_both_formats(finder: Path, finder_data: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("nncf") is None:
        pytest.skip('needs nncf: pip install ".[int8]"')
    settings = Int8BenchmarkSettings(
        networks=(str(finder),),
        data=str(finder_data),
        qat_epochs=0,
        scales=("layer",),
        rounds=1,
        folder=tmp_path,
    )
    rows = benchmark(settings)["rows"]
    assert [(row["format"], row["way"]) for row in rows] == [
        ("openvino", "float"),
        ("onnx", "float"),
        ("openvino", "trained"),
        ("onnx", "trained"),
    ]


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (("a=none.safetensors",), "none.safetensors: no such file; --networks takes NAME=FILE,..."),
        (("a={finder}", "a={finder}"), "--networks: a name is given twice"),
    ],
)
def test_networks_that_do_not_fit(networks: tuple[str, ...], message: str, finder: Path) -> None:
    given = tuple(one.format(finder=finder) for one in networks)
    with pytest.raises(DetectorError) as caught:
        benchmark(Int8BenchmarkSettings(networks=given, data="d.yaml"))
    assert str(caught.value) == message
