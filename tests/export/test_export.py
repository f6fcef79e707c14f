"""Exported files: equal to the network, complete, and not there where they are not equal."""

import copy
import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from detector import __version__
from detector.export import program
from detector.export.formats import FORMATS
from detector.export.options import Options, Save
from detector.export.pt2.backend import Pt2Backend
from detector.export.run import ExportReport, export_model
from detector.layers.conv import Conv
from detector.model.detector import Detector
from detector.predict import open_backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError

NAMES = ("class0", "class1", "class2")


@functools.cache
def open_file(path: Path) -> ExportedBackend:
    return next(form.open(path) for form in FORMATS.values() if form.suffix == path.suffix)


def is_dynamic(report: ExportReport) -> bool:
    return open_file(report.path).dynamic_size


def differences(
    network: Detector, backend: ExportedBackend, images: np.ndarray
) -> tuple[float, float]:
    """Largest difference of boxes, of their largest coordinate, and of scores."""
    with torch.no_grad():
        boxes, scores = network.decode(network(torch.from_numpy(images)))
    found_boxes, found_scores = backend.decoded(images)
    assert found_boxes.dtype == found_scores.dtype == np.float32
    scale = float(boxes.abs().max())
    return (
        float(np.abs(found_boxes - boxes.numpy()).max()) / scale,
        float(np.abs(found_scores - scores.numpy()).max()),
    )


def test_the_file_computes_what_the_network_computes(
    exported: ExportReport, network: Detector, rng: np.random.Generator
):
    backend = open_file(exported.path)
    box, score = differences(network, backend, rng.random((1, 3, 64, 64), np.float32))
    assert box <= 1e-5
    assert score <= 1e-5


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 32, 96), (5, 3, 96, 40)])
def test_a_dynamic_file_takes_other_sizes_and_numbers(
    exported: ExportReport, network: Detector, rng: np.random.Generator, shape: tuple[int, ...]
):
    backend = open_file(exported.path)
    images = rng.random(shape, np.float32)
    if backend.dynamic_size:
        assert backend.batch_size is None
        box, score = differences(network, backend, images)
        assert box <= 1e-5
        assert score <= 1e-5
    else:
        assert backend.batch_size == 1
        with pytest.raises(DetectorError) as caught:
            backend(images)
        assert "\n" not in str(caught.value)


def test_a_size_that_the_strides_do_not_divide(
    exported: ExportReport, network: Detector, rng: np.random.Generator
):
    """Both runtimes run it where the network can; the others refuse in one line."""
    backend = open_file(exported.path)
    images = rng.random((1, 3, 67, 64), np.float32)
    if not isinstance(backend, Pt2Backend) and backend.dynamic_size:
        assert max(differences(network, backend, images)) <= 1e-5
    else:
        with pytest.raises(DetectorError) as caught:
            backend(images)
        assert "\n" not in str(caught.value)


def test_the_file_says_what_it_is(exported: ExportReport):
    backend = open_file(exported.path)
    assert backend.names == NAMES
    assert backend.preprocess == Preprocess(size_hw=(64, 64))


def test_the_report(exported: ExportReport):
    assert exported.fusing.fused_blocks == 10
    metrics = exported.to_dict()
    assert 0 < metrics["max_abs_diff"] < 1e-2
    assert metrics["path"] == str(exported.path)
    assert metrics["ms_before"] > 0 < metrics["ms_after"]
    # One random batch of the size, split for a file of batch 1; two more where sizes are open.
    expected = 2 + 2 + 3 if is_dynamic(exported) else 1 + 3
    assert metrics["images"] == expected
    assert len(exported.lines()) == 3


def test_nothing_else_is_written(exported: ExportReport):
    suffixes = {".xml": (".xml", ".bin", ".xml")}.get(exported.path.suffix, ())
    expected = {f"model{exported.path.suffix}", f"model{exported.path.suffix}.certificate.json"}
    assert {path.name for path in exported.path.parent.iterdir()} == expected | {
        f"model{suffix}" for suffix in suffixes
    }


def test_no_path_of_a_machine_in_the_file(exported: ExportReport):
    data = exported.path.read_bytes()
    for word in (b"site-packages", b".py", b"detector/", str(Path.home()).encode()):
        assert word not in data


def test_the_network_stays_as_it_is(network: Detector, exported: ExportReport):
    assert not network.deployed
    assert all(p.requires_grad for p in network.parameters())
    assert any(isinstance(module, Conv) for module in network.modules())


def test_a_version_in_the_metadata(pt2_file: Path):
    assert f'"version":"{__version__}"'.encode() in pt2_file.read_bytes()


@pytest.mark.parametrize(
    ("given", "form", "expected"),
    [
        ("model", "onnx", "model.onnx"),
        ("model.onnx", "onnx", "model.onnx"),
        ("model.v1", "pt2", "model.v1.pt2"),
        ("model.v1", "openvino", "model.v1.xml"),
        ("a/model.onnx", "pt2", "a/model.onnx.pt2"),
    ],
)
def test_the_suffix(given: str, form: str, expected: str):
    assert FORMATS[form].path(given) == Path(expected)


def test_another_input_size(network: Detector, tmp_path: Path, rng: np.random.Generator):
    report = export_model(network, "pt2", tmp_path / "a", size_hw=(32, 96))
    backend = Pt2Backend(report.path)
    assert backend.preprocess.size_hw == (32, 96)
    assert max(differences(network, backend, rng.random((1, 3, 32, 96), np.float32))) <= 1e-5


def test_sizes_are_checked_before_anything_is_done(network: Detector, tmp_path: Path):
    with pytest.raises(DetectorError, match="input size 62×64 is not a multiple of the network's"):
        export_model(network, "onnx", tmp_path / "a", size_hw=(62, 64))
    with pytest.raises(
        DetectorError, match=r"have shape \(1, 3, 32, 32\), expected \(b, 3, 64, 64\)"
    ):
        export_model(network, "onnx", tmp_path / "a", [torch.zeros(1, 3, 32, 32)])
    images = [torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 30, 32)]
    with pytest.raises(DetectorError, match="input size 30×32 is not a multiple of the network's"):
        export_model(network, "onnx", tmp_path / "a", images, options=Options(dynamic=True))
    assert not list(tmp_path.iterdir())


def test_bf16_is_judged_by_annotated_images(network: Detector, tmp_path: Path):
    with pytest.raises(DetectorError, match=r"^--precision bf16 needs --data: what it costs is"):
        export_model(network, "openvino", tmp_path / "a", options=Options(precision="bf16"))
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_wrong_leaves_no_file(
    network: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The traced program scores 0.001 too high."""
    forward = program.ExportGraph.forward

    def wrong(self: program.ExportGraph, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        boxes, scores = forward(self, images)
        return boxes, scores + 1e-3

    monkeypatch.setattr(program.ExportGraph, "forward", wrong)
    old = tmp_path / "a.pt2"
    old.write_bytes(b"old")
    with pytest.raises(DetectorError, match=r"scores by 1\.00e-03, .*; nothing was written$"):
        export_model(network, "pt2", tmp_path / "a", options=Options(decoded=True))
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_fuse_that_is_wrong_leaves_no_file(
    network: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fuse = Conv.fuse

    def wrong(self: Conv) -> torch.nn.Module:
        fused = fuse(self)
        with torch.no_grad():
            fused.conv.weight.mul_(1.001)
        return fused

    monkeypatch.setattr(Conv, "fuse", wrong)
    with pytest.raises(DetectorError, match="block 'rows"):
        export_model(network, "pt2", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_file_with_other_weights_is_not_left(
    network: Detector,
    export_once: Callable[[str], ExportReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The exporter writes the file of a network that differs in one bias."""

    other = export_once("onnx").path

    def convert(*_: object) -> Save:
        return lambda path, _: shutil.copy(other, path)

    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], convert=convert))
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.head.m[0].bias[4] += 0.1
    # The largest score is about 8e-5; 10 % of it are more than 1e-4 of it + 1e-6.
    with pytest.raises(DetectorError, match="the exported file differs from the network: scores"):
        export_model(changed, "onnx", tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("form", "opset"), [("onnx", 17), ("onnx dynamic", 18)])
def test_the_operator_set(export_once: Callable[[str], ExportReport], form: str, opset: int):
    proto = onnx.load(export_once(form).path)
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", opset)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(Options(opset=13), marks=pytest.mark.slow),
        pytest.param(Options(opset=13, dynamic=True), marks=pytest.mark.slow),
        Options(opset=13, batch=3, precision="fp16"),
        pytest.param(Options(opset=13, dynamic=True, nms=NmsSettings()), marks=pytest.mark.slow),
        pytest.param(
            Options(opset=13, batch=2, nms=NmsSettings(multi_label=True)), marks=pytest.mark.slow
        ),
        Options(opset=15, nms=NmsSettings(class_agnostic=True)),
    ],
)
def test_earlier_operator_sets(
    network: Detector, images: torch.Tensor, tmp_path: Path, options: Options
):
    """The export itself compares the boxes with the network's, in ONNX Runtime."""
    report = export_model(network, "onnx", tmp_path / "a", [images], options=options)
    proto = onnx.load(report.path)
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", options.opset)]
    assert proto.ir_version == {13: 7, 15: 8}[options.opset]
    assert report.certificate.before_nms.boxes_px < (1e-3 if options.precision == "fp32" else 0.2)


@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(f, marks=pytest.mark.slow) for f in ("openvino", "pt2"))]
)
def test_a_fixed_batch(network: Detector, images: torch.Tensor, tmp_path: Path, form: str):
    """Three images in calls of two: the last call is filled up."""
    options = Options(batch=2)
    report = export_model(network, form, tmp_path / "a", [images], options=options)
    backend = open_backend(report.path)
    assert (backend.batch_size, backend.dynamic_size) == (2, False)
    assert report.certificate.images == 2 + 3
    boxes, _ = backend(images[:2].numpy())
    assert len(boxes) == 2
    with pytest.raises(DetectorError):
        backend(images.numpy())


def test_open_dimensions_have_names(export_once: Callable[[str], ExportReport]):
    graph = onnx.load(export_once("onnx dynamic").path).graph
    names = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input
    ]
    assert names == [["batch", 3, "height", "width"]]
    names = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.output
    ]
    assert names == [["batch", 16, "h0", "w0"], ["batch", 16, "h1", "w1"]]  # 2 · (5 + 3) channels


def test_a_network_that_cannot_be_traced(network: Detector, tmp_path: Path):
    class Data(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    model = copy.deepcopy(network)
    model.rows[2] = torch.nn.Sequential(model.rows[2], Data())
    with pytest.raises(DetectorError, match=r"row 2 \(Conv\): cannot be traced: ") as caught:
        export_model(model, "pt2", tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
