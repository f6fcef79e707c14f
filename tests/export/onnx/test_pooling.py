"""Pooling to a fixed number of cells, in files that take every size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from detector.export.onnx.pooling import adaptive_average_pool
from detector.export.options import Options
from detector.export.run import export_model
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.predict import Predictor
from detector.utils.yaml_file import YamlFile

CLASSIFIER = """
nc: 3
imgsz: 32
activation: ReLU
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
head:
  - [-1, 1, Classify, {nc: nc, pool: 7, hidden: [16]}]
"""
side = st.integers(1, 40)


def test_by_hand() -> None:
    # 3 → 2: cells 0, 1 and cells 1, 2; 1 → 2: the same cell twice
    image = torch.tensor([[1.0], [3.0], [8.0]])
    assert adaptive_average_pool(image, (2, 2)).tolist() == [[2.0, 2.0], [5.5, 5.5]]


@given(height=side, width=side, rows=side, columns=side)
def test_torch_s(height: int, width: int, rows: int, columns: int) -> None:
    image = torch.rand(2, 3, height, width, dtype=torch.float64)
    found = adaptive_average_pool(image, (rows, columns))
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(image, (rows, columns)))


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_a_dynamic_classifier(format: str, tmp_path: Path) -> None:
    """Smaller and larger maps than 7×7, and such that 7 does not divide."""
    torch.manual_seed(0)
    file = YamlFile(Path("a.yaml"), CLASSIFIER)
    model = build_model_file(check_model_file(file)).eval()
    path = export_model(model, format, tmp_path / "a", options=Options(dynamic=True)).path
    backend = Predictor(path, device="cpu").backend
    for size_hw in ((4, 4), (28, 28), (40, 36), (60, 4), (64, 128)):
        images = np.random.default_rng(0).random((2, 3, *size_hw), np.float32)
        with torch.inference_mode():
            expected = torch.softmax(model(torch.from_numpy(images))["logits"], -1)
        (found,) = backend(images)
        np.testing.assert_allclose(found, expected, atol=1e-6)
