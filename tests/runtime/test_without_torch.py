"""All modules of the runtime in a process without torch and without sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
for name in ("torch", "torchvision"):
    sys.modules[name] = None  # importing it raises ImportError

def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(f"{event}{arguments}")

sys.addaudithook(refuse)

import importlib, pkgutil
import detector.runtime
for module in pkgutil.walk_packages(detector.runtime.__path__, "detector.runtime."):
    importlib.import_module(module.name)

from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import open_source
from detector.runtime.writers import JsonLinesWriter, MediaWriter, YoloTxtWriter
from detector.settings.nms import NmsSettings

model, source, output = sys.argv[1:]
pipeline = Pipeline(OnnxBackend(model, threads=1), NmsSettings(), batch=2)
with (
    MediaWriter(output + "/drawn") as media,
    YoloTxtWriter(output + "/labels") as labels,
    JsonLinesWriter(output + "/results.jsonl") as lines,
):
    for result in pipeline(open_source(source)):
        for writer in (media, labels, lines):
            writer.write(result)
assert sys.modules["torch"] is None
print(media.count)
"""


def test_detect_on_an_onnx_file(make_onnx, image_folder, tmp_path):
    output = tmp_path / "output"
    command = [sys.executable, "-c", PROGRAM, make_onnx(), image_folder, output]
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3\n"
    records = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [record["name"] for record in records] == ["a", "b", "c"]
    assert [record["class_names"] for record in records] == [[], ["cat", "dog"], ["cat", "dog"]]
    assert records[2]["boxes_xyxy"] == [[0, 0, 10, 10], [40, 8, 60, 24]]
    assert sorted(path.name for path in (output / "drawn").iterdir()) == ["a.png", "b.png", "c.png"]
    assert sorted(path.name for path in (output / "labels").iterdir()) == [
        "a.txt",
        "b.txt",
        "c.txt",
    ]
