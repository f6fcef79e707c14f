"""Files in INT8 from the command to ``val --certificate``."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import export
from detector.cli import run_tool
from detector.export.request import accept_as
from detector.settings.export import ExportedFileSettings
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image
from detector.weights.checkpoint import load

COCO128 = Path(__file__).resolve().parents[2] / "datasets" / "coco128.yaml"

FORMATS = ("onnx", "openvino")
FAST_IN_ONNX = pytest.mark.parametrize(
    "format", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)]
)
SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}


def needs_nncf(format: str) -> None:
    """Skip without NNCF, which is not imported here: that would be with its telemetry."""
    if format == "openvino" and importlib.util.find_spec("nncf") is None:
        pytest.skip('needs nncf: pip install ".[int8]"')


@pytest.fixture(scope="module")
def exported(
    finder: Path, finder_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Any]:
    """A function that exports the finder in INT8, once for each format."""
    done: dict[str, Any] = {}

    def run(format: str) -> Any:
        needs_nncf(format)
        if format not in done:
            data = {"calibrate": str(finder_data), "data": str(finder_data)}
            path = tmp_path_factory.mktemp("int8") / "finder"
            done[format] = export(finder, format, path, precision="int8", max_drop=0.02, **data)
        return done[format]

    return run


@pytest.mark.parametrize("format", FORMATS)
def test_what_the_certificate_says(exported: Callable[[str], Any], format: str):
    report = exported(format)
    certificate = report.certificate
    assert certificate.precision == "int8"
    quantisation = certificate.quantisation
    assert quantisation.max_drop == 0.02
    assert (quantisation.calibration.images, quantisation.calibration.classes) == (5, 2)
    assert set(quantisation.calibration.fingerprint) == {"class names", "image files", "labels"}
    measured = certificate.measured
    assert measured.main[0] == "AP"
    assert measured.main[1] == pytest.approx(1)
    assert measured.main[2] >= 0.98
    assert measured.intervals.change[0] <= measured.main[2] - measured.main[1] + 1e-9
    assert ("nncf" in certificate.versions) == (format == "openvino")
    lines = report.lines()
    assert "a change of " in lines[1]
    assert lines[2] == quantisation.describe()
    assert lines[2].endswith("calibrated on 5 images of split 'train'")


@pytest.mark.parametrize("format", FORMATS)
def test_val_checks_it_again(
    exported: Callable[[str], Any],
    format: str,
    finder_data: Path,
    capfd: pytest.CaptureFixture[str],
):
    words = ["--weights", str(exported(format).path), "--certificate", "--data", str(finder_data)]
    assert run_tool("val", words) == 0
    out = capfd.readouterr().out
    assert "AP matches the certificate, " in out
    assert out.splitlines()[-1].startswith("AP of the trained network: 1.0000, a change of ")


@pytest.mark.parametrize("format", FORMATS)
def test_it_detects(exported: Callable[[str], Any], format: str, finder_images: Path):
    from detector.predict import Predictor

    (found,) = Predictor(exported(format).path)([finder_images / "a.png"])
    assert found.class_names == ["red"]
    assert found.boxes_xyxy[0] == pytest.approx([0, 0, 16, 16], abs=1)


@FAST_IN_ONNX
def test_one_scale_a_layer(finder: Path, finder_data: Path, tmp_path: Path, format: str):
    needs_nncf(format)
    data = {"calibrate": str(finder_data), "data": str(finder_data)}
    report = export(
        finder, format, tmp_path / "a", precision="int8", per_tensor=True, max_drop=1, **data
    )
    quantisation = report.certificate.quantisation
    assert quantisation is not None
    assert quantisation.per_tensor
    assert " rows in float, weights with one scale a layer; calibrated on 5" in report.lines()[2]


def test_a_changed_file_is_accepted_by_ap(
    exported: Callable[[str], Any], finder: Path, finder_data: Path, tmp_path: Path
):
    path = exported("onnx").path
    settings = ExportedFileSettings()
    with pytest.raises(DetectorError) as caught:
        accept_as(load(finder), settings, path, tmp_path / "new.onnx")
    assert str(caught.value) == f"{path}: a file in int8 is accepted by AP: give --data"
    settings = ExportedFileSettings(data=str(finder_data))
    report = accept_as(load(finder), settings, path, tmp_path / "new.onnx")
    assert report.certificate.measured is not None


def black_images(folder: Path, names: tuple[str, ...] = ("red", "green")) -> Path:
    """Twenty almost black images, with squares of the first two classes in the labels only."""
    (folder / "labels").mkdir()
    for number in range(20):
        write_image(folder / "images" / f"{number}.png", np.full((64, 64, 3), 3, np.uint8))
        (folder / "labels" / f"{number}.txt").write_text("0 0.2 0.2 0.2 0.2\n1 0.8 0.8 0.2 0.2\n")
    definition = folder / "black.yaml"
    definition.write_text(f"names: {json.dumps(names)}\nsplits: {{train: images}}\n")
    return definition


@FAST_IN_ONNX
def test_a_bad_calibration_is_refused(finder: Path, finder_data: Path, tmp_path: Path, format: str):
    needs_nncf(format)
    data = tmp_path / "data"
    data.mkdir()
    images = {"calibrate": str(black_images(data)), "data": str(finder_data)}
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DetectorError) as caught:
        export(finder, format, out / "finder", precision="int8", **images)
    message = str(caught.value)
    assert message.startswith("--precision int8: AP 1.0000 → ")
    assert message.count("row ") == 3
    assert "; nothing was written; " in message
    assert not list(out.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_bad_calibration_of_a_published_network(shared: Path, tmp_path: Path, format: str):
    """YOLOv5n at 320 has AP 0.31 on 128 images of COCO; ranges of black images leave little."""
    needs_nncf(format)
    model = load(shared / "weights" / "yolov5n_coco.pt")
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    images = {
        "calibrate": str(black_images(data, model.names)),
        "data": str(COCO128),
        "data_root": shared / "data" / "coco128",
    }
    with pytest.raises(DetectorError) as caught:
        export(model, format, out / "yolov5n", precision="int8", imgsz=320, **images)
    message = str(caught.value)
    found = re.match(r"--precision int8: AP (\S+) → (\S+), a change of ", message)
    assert found is not None
    before, after = map(float, found.groups())
    assert before == pytest.approx(0.311, abs=0.002)
    assert after < before - 0.05
    assert len(re.findall(r"row \d+ \([\w.]+\)", message)) == 3
    assert "; nothing was written; " in message
    assert not list(out.iterdir())


def test_batches_of_more_than_one(finder: Path, finder_data: Path, tmp_path: Path):
    data = {"calibrate": str(finder_data), "data": str(finder_data)}
    report = export(
        finder, "onnx", tmp_path / "two", precision="int8", batch=2, max_drop=0.02, **data
    )
    assert report.certificate.quantisation is not None


def test_nms_inside_the_file(finder: Path, finder_data: Path, tmp_path: Path):
    data = {"calibrate": str(finder_data), "data": str(finder_data)}
    settings: dict[str, Any] = {"nms": True, "confidence": 0.01, "max_drop": 0.02}
    report = export(finder, "onnx", tmp_path / "nms", precision="int8", **settings, **data)
    assert report.certificate.quantisation is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"precision": "int8"},
            "--precision int8 needs --calibrate: ranges are measured on images of --calibrate, "
            "and AP before and after on those of --data",
        ),
        (
            {"precision": "int8", "calibrate": "d.yaml"},
            "--precision int8 needs --data: ranges are measured on images of --calibrate, "
            "and AP before and after on those of --data",
        ),
        (
            {"calibrate": "d.yaml"},
            "--calibrate is not for --precision fp32: it is int8's",
        ),
        (
            {"per_tensor": True},
            "--per-tensor is not for --precision fp32: it is int8's",
        ),
        (
            {"precision": "fp16", "max_drop": 0.1},
            "--max-drop is not for --precision fp16: it is bf16's and int8's",
        ),
        (
            {"precision": "int8", "format": "pt2", "calibrate": "d.yaml", "data": "d.yaml"},
            "--precision int8 is not for --format pt2; use onnx or openvino",
        ),
    ],
)
def test_settings_that_do_not_fit(
    finder: Path, tmp_path: Path, settings: dict[str, Any], message: str
):
    with pytest.raises(DetectorError) as caught:
        export(load(finder), output=tmp_path / "a", **settings)
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "format", "size"),
    [
        ("yolov5n_coco.pt", "openvino", 0.30),
        ("yolov5n_coco.pt", "onnx", 0.30),
        ("yolox_nano_coco.pth", "openvino", 0.30),
        # Ten of its 25 rows stay in float.
        ("yolox_nano_coco.pth", "onnx", 0.75),
    ],
)
def test_published_networks(shared: Path, tmp_path: Path, weights: str, format: str, size: float):
    """AP on 128 images of COCO drops by 0.005 at most; the weights' file is a quarter as large."""
    needs_nncf(format)
    model = load(shared / "weights" / weights)
    data = {"data": str(COCO128), "data_root": shared / "data" / "coco128"}
    exact = export(model, format, tmp_path / "exact")
    int8 = export(
        model, format, tmp_path / "int8", precision="int8", calibrate=str(COCO128), **data
    )
    _, before, after = int8.certificate.measured.main
    assert after >= before - 0.005
    suffix = ".bin" if format == "openvino" else ".onnx"
    sizes = [one.path.with_suffix(suffix).stat().st_size for one in (int8, exact)]
    assert sizes[0] <= size * sizes[1]
