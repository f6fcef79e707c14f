"""``analyse``: numbers, files and errors, for a network that finds everything."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import detector

Run = Callable[..., Any]

FILES = {
    "analysis.html",
    "analysis.json",
    "bins.png",
    "calibration.png",
    "confidence.png",
    "confusion.png",
    "error_types.png",
    "label_errors.csv",
    "label_errors.jsonl",
    "precision_recall.png",
}


@pytest.mark.parametrize("weights", ["finder", "finder_onnx"])
def test_everything_is_right(
    weights: str, run: Run, finder_data: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    file, out = request.getfixturevalue(weights), tmp_path / "out"
    ran = run("analyse", "--weights", file, "--data", finder_data, "--output", out)
    assert (ran.code, ran.err) == (0, "")
    assert {path.name for path in out.iterdir()} == FILES  # no mistakes, no pictures of them
    assert json.loads((out / "analysis.json").read_text()) == ran.metrics
    assert ran.metrics["error_types"]["AP50"] == pytest.approx(1)
    assert ran.metrics["confusion"]["counts"][2] == [0, 0, 0]
    assert ran.metrics["label_errors"] == []
    assert "no label that the network disagrees with" in ran.out
    assert (out / "label_errors.jsonl").read_text() == ""


def test_wrong_labels_are_listed_and_drawn(
    run: Run, finder: Path, finder_data: Path, tmp_path: Path
):
    """Boxes found before: one has another class, and one is where nothing is labelled."""
    words = ("--weights", finder, "--data", finder_data)
    boxes, out = tmp_path / "boxes.json", tmp_path / "out"
    assert run("val", *words, "--save-predictions", boxes, "--confidence", "0.5").code == 0
    rows = json.loads(boxes.read_text())
    first = next(row for row in rows if row["image_id"] == 1)
    first["category_id"] = 3 - first["category_id"]
    rows.append({**first, "image_id": 2, "bbox": [0, 0, 12, 12], "score": 0.5})
    boxes.write_text(json.dumps(rows))
    ran = run("analyse", *words, "--predictions", boxes, "--output", out)
    assert (ran.code, ran.err) == (0, "")
    wrong, missing = ran.metrics["label_errors"]
    assert (wrong["image_id"], wrong["kind"], wrong["suspicion"]) == (1, "wrong class", 1.0)
    assert (missing["image_id"], missing["kind"]) == (2, "missing label")
    with (out / "label_errors.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["kind"] for row in table] == ["wrong class", "missing label"]
    assert [table[1][side] for side in ("x1", "y1", "x2", "y2")] == ["0.0", "0.0", "12.0", "12.0"]
    assert table[1]["label_class"] == "" and float(table[1]["score"]) == 0.5
    lines = (out / "label_errors.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ran.metrics["label_errors"]
    assert {path.name for path in out.glob("*.jpg")} == {
        "label_errors.jpg",
        "worst_false_positives.jpg",
        "worst_missed_objects.jpg",
    }
    page = (out / "analysis.html").read_text()
    assert "missing label" in page and "http:" not in page and "https:" not in page
    # The pictures of mistakes that are no longer there are removed.
    assert run("analyse", *words, "--output", out).code == 0
    assert list(out.glob("*.jpg")) == []


def test_in_python(finder: Path, finder_data: Path, tmp_path: Path):
    found = detector.analyse(finder, finder_data, shown=0.5)
    assert found.confidence == 0.5 and found.label_errors == []
    assert list(tmp_path.iterdir()) == []
    detector.analyse(finder, finder_data, output=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


def test_errors(fails: Run, finder: Path, finder_data: Path, tmp_path: Path):
    words = ("analyse", "--weights", finder, "--data", finder_data, "--output", tmp_path / "out")
    assert fails(*words, "--metric", "voc07") == (
        "--metric voc07: analyse matches boxes as COCO does; omit it"
    )
    assert fails(*words, "--predictions", tmp_path / "a.json", "--iou", "0.7") == (
        "--iou does not go with --predictions, whose boxes are taken unchanged"
    )
    assert fails(*words, "--predictions", tmp_path / "a.json") == (
        f"{tmp_path / 'a.json'}: cannot be read: No such file or directory"
    )
    assert not (tmp_path / "out").exists()
