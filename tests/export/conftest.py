"""A small network with every kind of row that fuses, and the files exported from it."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.run import ExportReport, export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile
from tests.conftest import Once

TINY = """
nc: 3
imgsz: 64
anchors: [[10, 13, 16, 30], [30, 61, 62, 45]]
backbone:
  - [-1, 1, RepVGGBlock, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [8, 3, 1]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [-1, 1, SPPF, [16, 5]]
  - [-1, 1, C3, [16, False]]
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 1], 1, Concat, [1]]
  - [[6, 4], 1, Detect, [nc, anchors]]
"""
SIZE_HW = (64, 64)


@pytest.fixture(scope="session")
def network() -> Detector:
    """Untrained, but with batch norms that hide nothing."""
    torch.manual_seed(0)
    model = build_model_file(check_model_file(YamlFile(Path("tiny.yaml"), TINY)))
    randomise_batch_norms(model)
    return model.eval()


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """Three normalized images."""
    return torch.rand(3, 3, *SIZE_HW, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def export_once(
    network: Detector, images: torch.Tensor, once: Once
) -> Callable[[str], ExportReport]:
    """A function that exports each form at its first call: exporting takes seconds."""

    @functools.cache
    def run(form: str) -> ExportReport:
        name, *kinds = form.split()
        dynamic = "dynamic" in kinds
        options = Options(dynamic=dynamic, opset=18 if dynamic else 17, decoded="decoded" in kinds)

        def export(folder: Path) -> None:
            report = export_model(network, name, folder / "model", [images], options=options)
            folder.with_suffix(".pickle").write_bytes(pickle.dumps(report))

        folder = once(f"exported_{'_'.join(form.split())}", export)
        report: ExportReport = pickle.loads(folder.with_suffix(".pickle").read_bytes())
        return report

    return run


FORMS = [
    *(f"{name}{kind}" for name in FORMATS for kind in ("", " dynamic")),
    "onnx decoded",
    "pt2 dynamic decoded",
]


@pytest.fixture(scope="session", params=FORMS)
def exported(
    request: pytest.FixtureRequest, export_once: Callable[[str], ExportReport]
) -> ExportReport:
    """Each form in turn."""
    return export_once(request.param)


@pytest.fixture(scope="session")
def pt2_file(export_once: Callable[[str], ExportReport]) -> Path:
    """A dynamic ``.pt2`` that decodes: it has symbolic sizes."""
    return export_once("pt2 dynamic decoded").path
