"""Blocks of other packages that cannot be exported: the message names the row and a way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detector import registry
from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.run import export_model
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

MODEL = """
nc: 2
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Own, []]
head:
  - [-1, 1, Detect, [nc, 2]]
"""
SIZE_HW = (64, 96)


class Own(nn.Module):
    function: Callable[[Own, Tensor], Tensor]

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.linspace(-0.1, 0.1, c_in * c_in * 9).view(c_in, c_in, 3, 3)
        )
        self.lstm = nn.LSTM(c_in, c_in, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return type(self).function(self, x)


def deformed(own: Own, x: Tensor) -> Tensor:
    offsets = x[:, :1].sigmoid().expand(-1, 18, -1, -1)
    return torchvision.ops.deform_conv2d(x, offsets, own.weight, padding=1)


def distant(own: Own, x: Tensor) -> Tensor:
    return x + torch.cdist(x.flatten(2), x.flatten(2)).mean(-1)[..., None, None]


def recurrent(own: Own, x: Tensor) -> Tensor:
    return x + own.lstm(x.mean(2).mT)[0].mT.unsqueeze(2)


def one_by_one(own: Own, x: Tensor) -> Tensor:
    return torch.cat([image.unsqueeze(0) for image in x])


def fourier(own: Own, x: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=x.shape[-2:])


def folded(own: Own, x: Tensor) -> Tensor:
    windows = nn.functional.unfold(x, 2, stride=2)
    return nn.functional.fold(windows, x.shape[-2:], 2, stride=2)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Detector]]:
    """A function that builds a network whose row 1 computes the given function."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    registry.register()(Own)

    def make(function: Callable[[Own, Tensor], Tensor]) -> Detector:
        monkeypatch.setattr(Own, "function", function, raising=False)
        torch.manual_seed(0)
        return build_model_file(check_model_file(YamlFile(Path("own.yaml"), MODEL))).eval()

    return make


@pytest.mark.parametrize(
    ("function", "form", "options", "message"),
    [
        (
            recurrent,
            "pt2",
            Options(),
            "pt2 files do not take the operator aten.lstm.input; use --format onnx",
        ),
        (
            one_by_one,
            "pt2",
            Options(dynamic=True),
            "works with one number of images only; export without --dynamic",
        ),
        (
            distant,
            "onnx",
            Options(opset=23),
            "cannot be written as ONNX with --opset 23: the operator aten._cdist_forward.default; "
            "use --format pt2",
        ),
        (
            deformed,
            "onnx",
            Options(),
            "cannot be written as ONNX with --opset 18: No Op registered for DeformConv with "
            "domain_version of 18; use --opset 19",
        ),
        (
            folded,
            "onnx",
            Options(opset=17),
            "cannot be written with --opset 17: operator Col2Im needs --opset 18",
        ),
    ],
)
def test_refused(
    function: Any,
    form: Any,
    options: Options,
    message: str,
    network: Callable[[Any], Detector],
    tmp_path: Path,
) -> None:
    with pytest.raises(DetectorError) as caught:
        export_model(network(function), form, tmp_path / "m", size_hw=SIZE_HW, options=options)
    assert str(caught.value) == f"own.yaml: row 1 (Own): {message}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "form", "options"),
    [
        (recurrent, "onnx", Options()),
        (one_by_one, "pt2", Options(batch=2)),
        (distant, "pt2", Options(dynamic=True)),
        (deformed, "onnx", Options(opset=19)),
        (deformed, "pt2", Options(dynamic=True)),
        (fourier, "onnx", Options()),
        (fourier, "pt2", Options()),
        (folded, "onnx", Options(dynamic=True)),
        (folded, "pt2", Options(dynamic=True)),
    ],
)
def test_the_remedy_works(
    function: Any,
    form: Any,
    options: Options,
    network: Callable[[Any], Detector],
    tmp_path: Path,
) -> None:
    """Exporting compares the file with the network."""
    model = network(function)
    report = export_model(model, form, tmp_path / "m", size_hw=SIZE_HW, options=options)
    assert FORMATS[form].open(report.path).names == model.names
