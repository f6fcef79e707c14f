"""Chains of blocks in each exported format: the export itself compares them with PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.run import export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile

pytestmark = pytest.mark.slow

CHAINS = {
    "gelan": """
  - [-1, 1, Silence, []]
  - [-1, 1, ELAN1, [16, 16, 8]]
  - [-1, 1, AConv, [16]]
  - [-1, 1, RepNCSPELAN4, [16, 8, 4, 2]]
  - [-1, 1, ADown, [16]]
  - [-1, 1, SPPELAN, [16]]""",
    "yolov7": """
  - [-1, 1, ReOrg, []]
  - [-1, 1, DownC, [16]]
  - [-1, 1, Conv, [16, 3]]
  - [[-1, -2], 1, Shortcut, [1]]""",
    "attention": """
  - [-1, 1, CBAM, [16]]
  - [-1, 1, GSConv, [16, 3, 2]]
  - [-1, 1, CoordAtt, [16]]
  - [-1, 1, ECA, []]
  - [-1, 1, SE, [16, 4]]
  - [-1, 1, VoVGSCSP, [16]]
  - [-1, 1, SimAM, []]""",
    "c2f": """
  - [-1, 2, C2f, [16, True]]
  - [-1, 1, C3k2, [16, True]]
  - [-1, 1, C2, [16]]
  - [-1, 2, C2PSA, [16]]""",
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", CHAINS)
def test_exports(name: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = f"""
nc: 2
imgsz: 64
backbone:
  - [-1, 1, Conv, [16, 3, 2]]{CHAINS[name]}
head:
  - [-1, 1, Detect, [nc, 2]]
"""
    network = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))
    randomise_batch_norms(network)
    report = export_model(
        network.eval(), form, tmp_path / "m", size_hw=(64, 96), options=Options(dynamic=True)
    )
    assert FORMATS[form].open(report.path).names == network.names
