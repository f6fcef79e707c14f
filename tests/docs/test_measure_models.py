"""The script that measures published weights, and the table that it writes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from detector import DetectorError
from detector.weights.interop.packaged_names import packaged_names
from detector.weights.published import PUBLISHED
from tests.docs.pages import PAGES, ROOT

PAGE = """# Choose
| weights | model | licence | side | AP | AP, 128 | parameters | GMAC | ms | MB |
|---|---|---|---|---|---|---|---|---|---|
| `a.pth` | `yolox`, nano | MIT | 416 | 25.8 | – | 9 | 1.2 | – | – |
| `b.pt` | `yolov9`, s | MIT | 640 | 46.8 | – | 7 | 13.1 | – | – |

After it.
"""

MEASURED: dict[str, Any] = {
    "date": "2026-12-01",
    "machine": "Some CPU",
    "cores": 2,
    "versions": {"torch": "2.14.1", "onnxruntime": "1.31.1"},
    "commit": "abc1234",
    "models": {"a.pth": {"AP": 0.33801, "ms": 12.04, "MB": 3.718}},
}

HOW = "Measured on 2026-12-01: Some CPU, 2 cores; torch 2.14.1, onnxruntime 1.31.1; commit abc1234."


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_models", ROOT / "docs/measure_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_that_were_measured_are_written(script: ModuleType) -> None:
    written = script.with_figures(PAGE, MEASURED)
    row = "| `a.pth` | `yolox`, nano | MIT | 416 | 25.8 | 0.338 | 9 | 1.2 | 12.0 | 3.72 |"
    before, _, other, *rest = PAGE.splitlines()[2:]
    assert written.splitlines()[2:] == [before, row, other, "", HOW, *rest]


def test_a_second_measurement_replaces_the_first(script: ModuleType) -> None:
    later = {**MEASURED, "date": "2026-12-02"}
    written = script.with_figures(script.with_figures(PAGE, MEASURED), later)
    assert written == script.with_figures(PAGE, later)
    assert written.count("Measured on") == 1


def test_the_page_has_such_a_table(script: ModuleType) -> None:
    """All of its rows are found, and those that were not measured stay."""
    (page,) = (file for file in PAGES if file.name == "models.md")
    text = page.read_text(encoding="utf-8")
    names = [one.file for one in PUBLISHED if f"| `{one.file}` |" in text]
    assert len(names) == 8
    figures = {"AP": 0.5, "ms": 1.0, "MB": 2.0}
    written = script.with_figures(text, {**MEASURED, "models": dict.fromkeys(names, figures)})
    assert written.count(" | 1.0 | 2.00 |") == 8
    nothing = script.with_figures(text, {**MEASURED, "models": {}})
    assert set(text.splitlines()) - set(nothing.splitlines()) <= {
        line for line in text.splitlines() if line.startswith("Measured on")
    }


@pytest.mark.slow
def test_weights_of_a_folder_are_measured(
    script: ModuleType, shared: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """YOLOX-nano at 64 px on eight images, whose classes are called as COCO's."""
    shutil.copy(shared / "weights" / "yolox_nano_coco.pth", tmp_path / "yolox_nano.pth")
    names = json.dumps(packaged_names("coco"))
    data = tmp_path / "data.yaml"
    data.write_text(f"path: {tiny_data.parent}\nnames: {names}\nsplits: {{val: images/val}}\n")
    rows = [replace(row, imgsz=64) for row in PUBLISHED]
    measured = script.measure(tmp_path, rows, data=str(data), data_root=None)
    assert json.loads(json.dumps(measured)) == measured
    assert (measured["data"], measured["images"], list(measured["models"])) == (
        str(data),
        8,
        ["yolox_nano.pth"],
    )
    nano = measured["models"]["yolox_nano.pth"]
    assert 0 <= nano["AP"] <= 1
    assert nano["ms"] > 0
    assert 3.6 < nano["MB"] < 4.2  # 904,463 parameters of 4 bytes, and the graph
    assert measured["cores"] >= 1


def test_a_folder_without_weights(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DetectorError) as caught:
        script.measure(tmp_path, PUBLISHED, data="x")
    assert str(caught.value) == f"{tmp_path}: no file of the table in docs/weights.md"


def test_flags_that_do_not_go_together(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main(["weights/"])
    assert "expected a folder with --json FILE, or --table FILE" in capsys.readouterr().err
