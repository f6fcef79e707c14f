"""FiftyOne's own reader of COCO JSON reads what ``detect --save-labels coco`` writes.

Needs ``pip install fiftyone``; run by
``python -m pytest -m heavy -n 0 tests/examples/test_fiftyone.py``. It runs without MongoDB, so the
data set in the database and the app are not tested.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from detector.cli import run_tool

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.heavy


def test_detections_with_their_confidence(finder_onnx: Path, finder_images: Path, tmp_path: Path):
    pytest.importorskip("fiftyone")
    script = ROOT / "examples" / "fiftyone_import.py"
    spec = importlib.util.spec_from_file_location("fiftyone_import", script)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    words = f"--weights {finder_onnx} --source {finder_images} --output {tmp_path} --no-draw"
    assert run_tool("detect", [*words.split(), "--jsonl", "--save-labels", "coco"]) == 0
    lines = (tmp_path / "detections.jsonl").read_text().splitlines()
    with module.importer(str(finder_images), str(tmp_path / "coco/annotations.json")) as importer:
        found = {Path(path).name: labels for path, _, labels in importer}
    assert len(lines) == len(found) == 5
    for line in map(json.loads, lines):
        labels = found[Path(line["path"]).name]
        detections = labels["detections"].detections if labels else []
        height, width = line["size_hw"]
        assert [one.label for one in detections] == line["class_names"]
        assert [one.confidence for one in detections] == pytest.approx(line["scores"], abs=1e-6)
        for one, (x1, y1, x2, y2) in zip(detections, line["boxes_xyxy"], strict=True):
            expected = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
            assert one.bounding_box == pytest.approx(expected, abs=1e-4)
