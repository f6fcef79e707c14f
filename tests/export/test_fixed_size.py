"""Networks for one input size (SSD, RefineDet): exported, reloaded, given another size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.run import export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.predict import Predictor, open_backend
from detector.settings.common import RuntimeSettings
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

TINY_SSD = """
nc: 2
imgsz: 68
activation: ReLU
preprocess: {mode: stretch, mean_rgb: [123, 117, 104], scale_rgb: [1, 1, 1]}
anchors: [[10, 20], [20, 40]]
backbone:
  - [-1, 1, ConvAct, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [8, 3, 2]]
  - [-1, 1, nn.MaxPool2d, {kernel_size: 2, stride: 2, ceil_mode: True}]
head:
  - [1, 1, L2Norm, [20]]
  - [[3, 2], 1, SSDHead, {nc: nc, anchors: anchors, ratios: [[2], [2, 3]], steps: [4, 8]}]
"""

TINY_REFINEDET = """
nc: 2
imgsz: 64
activation: ReLU
preprocess: {mode: stretch, mean_rgb: [123, 117, 104], scale_rgb: [1, 1, 1]}
backbone:
  - [-1, 1, PeleeStem, [8]]
  - [-1, 2, TwoWayDenseLayer, [8, 8]]
  - [-1, 2, DenseLayer, [8, 8]]
  - [-1, 1, PreActConv, [16]]
  - [-1, 1, nn.AvgPool2d, {kernel_size: 2, ceil_mode: True}]
  - [-1, 1, NormAct, []]
head:
  - [[3, 5], 1, RefineDetHead,
     {nc: nc, sides: [12, 24], ratios: [[2], [2, 3]], steps: [4, 8], width: 8, norm: True}]
"""


def test_deployed_refinedet():
    """Stem of 4 convolutions, 2 · 5 in two-way layers, 2 · (1 norm and 1 convolution) in dense
    layers, 2 other norms; transfer connections of 3 convolutions each, 1 of them with a transposed
    one: 4 + 10 + 4 + 2 + 7 = 27 blocks.
    """
    model = refinedet()
    fused, report = deploy(model)
    assert report.fused_blocks == 27
    assert report.difference_fp64 < 1e-12
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert fused.fixed_size_hw == (64, 64)


@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(f, marks=pytest.mark.slow) for f in ("openvino", "pt2"))]
)
def test_refinedet_in_a_file(form: str, tmp_path: Path, rng):
    model = refinedet()
    report = export_model(model, form, tmp_path / "m", options=Options(dynamic=True))
    backend = open_backend(report.path)
    assert backend.eval_nms == model.eval_nms
    image = rng.integers(0, 255, (50, 120, 3)).astype(np.uint8)
    (expected,), (found,) = Predictor(model)(image), Predictor(report.path)(image)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    distances = np.abs(found.boxes_xyxy[:, None] - expected.boxes_xyxy[None]).max(-1)
    assert distances.min(0).max() < 1e-3
    assert distances.min(1).max() < 1e-3


def refinedet() -> Detector:
    """Return maps of 16 and 8 cells, of every block of DenseNet and PeleeNet."""
    torch.manual_seed(0)
    model = build_model_file(check_model_file(YamlFile(Path("m.yaml"), TINY_REFINEDET)))
    randomise_batch_norms(model)
    return model.eval()


@pytest.fixture(scope="module")
def ssd() -> Detector:
    """68 pixels, which no stride divides: maps of 17 and, rounded up, 9 cells."""
    model = build_model_file(check_model_file(YamlFile(Path("ssd.yaml"), TINY_SSD)))
    randomise_batch_norms(model)
    return model.eval()


def test_deploy(ssd: Detector):
    fused, report = deploy(ssd)
    assert report.fused_blocks == 1
    assert report.difference_fp64 < 1e-12
    assert fused.fixed_size_hw == (68, 68)


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_gives_the_same_boxes(ssd: Detector, form: str, tmp_path: Path, rng):
    report = export_model(ssd, form, tmp_path / "ssd", options=Options(dynamic=True))
    backend = open_backend(report.path)
    assert backend.preprocess == ssd.preprocess
    assert backend.eval_nms == ssd.eval_nms
    assert (backend.batch_size, backend.dynamic_size) == (None, False)
    image = rng.integers(0, 255, (50, 120, 3)).astype(np.uint8)
    (expected,), (found,) = Predictor(ssd)(image), Predictor(report.path)(image)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    # Untrained scores lie so close together that rounding decides about their order.
    distances = np.abs(found.boxes_xyxy[:, None] - expected.boxes_xyxy[None]).max(-1)
    assert distances.min(0).max() < 1e-3
    assert distances.min(1).max() < 1e-3
    with pytest.raises(DetectorError, match="takes inputs of 68×68 only, found imgsz 64; "):
        open_backend(report.path, RuntimeSettings(imgsz=64))


def test_another_size(ssd: Detector, tmp_path: Path):
    message = "^input size 64×64: the network takes 68×68 only, its default boxes are made for it$"
    with pytest.raises(DetectorError, match=message):
        export_model(ssd, "onnx", tmp_path / "ssd", size_hw=(64, 64))
    with pytest.raises(DetectorError, match=message):
        open_backend(ssd, RuntimeSettings(imgsz=64))
    assert list(tmp_path.iterdir()) == []


SWIN = """
nc: 2
anchors: [[10, 10, 13, 13]]
backbone:
  - [-1, 1, Conv, [64, 3, 4]]
  - [-1, 2, C3STR, [64]]
head:
  - [[1], 1, Detect, [nc, anchors]]
"""


@pytest.mark.slow
def test_windows_of_one_size(tmp_path: Path) -> None:
    """6×9 cells are filled up to 8×16; with an open size the windows could not be counted."""
    network = build_model_file(check_model_file(YamlFile(tmp_path / "swin.yaml", SWIN))).eval()
    assert export_model(network, "onnx", tmp_path / "m", size_hw=(24, 36)).path.is_file()
    with pytest.raises(DetectorError) as caught:
        export_model(network, "onnx", tmp_path / "d", options=Options(dynamic=True))
    assert str(caught.value) == (
        f"{tmp_path / 'swin.yaml'}: row 1 (C3STR): cannot be traced: its windows are counted for "
        "one input size; export without --dynamic"
    )
