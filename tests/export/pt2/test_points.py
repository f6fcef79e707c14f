"""Heads of points in pt2 files: at a fixed size and at any."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.export.options import Options
from detector.export.run import export_model
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile

MODEL = """
nc: 2
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 8]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[0, 1], 1, HEAD, ARGS]
"""


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("head", "args"), [("YOLOXHead", "[nc, 8]"), ("DFLHead", "[nc]")])
def test_the_file_gives_the_network_s_boxes(
    head: str, args: str, dynamic: bool, tmp_path: Path
) -> None:
    text = MODEL.replace("HEAD", head).replace("ARGS", args)
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))
    report = export_model(model, "pt2", tmp_path / "m", options=Options(dynamic=dynamic))
    assert report.proof.findings.before_nms.boxes_px < 1e-3
    assert report.proof.findings.before_nms.scores < 1e-5
