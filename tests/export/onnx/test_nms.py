"""NMS inside an ONNX file: bitwise the boxes of ``detector.runtime.nms.nms``."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import parser

from detector.export.onnx.nms import with_nms
from detector.export.onnx.parts import onnx_parts
from detector.export.options import Options
from detector.export.proof.verify import compare_outputs
from detector.export.run import export_model
from detector.model.detector import Detector
from detector.predict import Predictor, open_backend
from detector.runtime.backends.backend import METADATA_KEY
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.precision import tolerance_of
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED, seal
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError

NETWORK = """
<ir_version: 8, opset_import: ["" : {opset}]>
network (float[b, n, 4] in_0, float[b, n, c] in_1)
  => (float[b, n, 4] network_boxes, float[b, n, c] network_scores)
{{ network_boxes = Identity(in_0)  network_scores = Identity(in_1) }}
"""
SETTINGS = [
    NmsSettings(
        confidence=confidence,
        iou=iou,
        max_detections=limit,
        multi_label=multi_label,
        class_agnostic=agnostic,
    )
    for confidence, iou, limit, (multi_label, agnostic) in itertools.product(
        (0.0, 0.25), (0.3, 1.0), (5, 300), ((False, False), (False, True), (True, False))
    )
]


def session(settings: NmsSettings, opset: int = 18) -> onnxruntime.InferenceSession:
    proto = with_nms(parser.parse_model(NETWORK.format(opset=opset)), settings, 3)
    onnx.checker.check_model(proto)
    return onnxruntime.InferenceSession(proto.SerializeToString())


def assert_equal_to_ours(
    boxes: np.ndarray, scores: np.ndarray, settings: NmsSettings, opset: int = 18
) -> None:
    found = session(settings, opset).run(None, {"in_0": boxes, "in_1": scores})
    for image in range(len(boxes)):
        expected = nms(boxes[image], scores[image], settings)
        count = len(expected[1])
        for ours, its in zip(expected, found, strict=True):
            np.testing.assert_array_equal(its[image, :count], ours)
        assert not found[0][image, count:].any()
        assert (found[1][image, count:] == 0).all()
        assert (found[2][image, count:] == -1).all()


@pytest.mark.parametrize("count", [1, 4, 200])
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_same_boxes(settings: NmsSettings, count: int, rng: np.random.Generator):
    """Two images; whole pixels and eighths as scores: many overlaps and scores are equal."""
    corners = rng.integers(0, 40, (2, count, 2))
    sides = rng.integers(0, 20, (2, count, 2))
    boxes = np.concatenate([corners, corners + sides], -1).astype(np.float32)
    scores = (rng.integers(0, 9, (2, count, 3)) / 8).astype(np.float32)
    scores[1] *= 0.2
    assert_equal_to_ours(boxes, scores, settings)


@pytest.mark.parametrize("opset", [17, 23])
def test_other_operator_sets(opset: int, rng: np.random.Generator):
    boxes = rng.random((1, 30, 4), np.float32) * 10
    boxes[..., 2:] += boxes[..., :2]
    assert_equal_to_ours(boxes, rng.random((1, 30, 3), np.float32), NmsSettings(), opset)


def test_a_score_that_equals_the_threshold_is_kept():
    boxes = np.array([[[0, 0, 10, 10], [20, 0, 30, 10]]], np.float32)
    scores = np.array([[[0.25, 0, 0], [np.nextafter(np.float32(0.25), 0), 0, 0]]], np.float32)
    _, kept, class_ids = session(NmsSettings()).run(None, {"in_0": boxes, "in_1": scores})
    assert kept.tolist() == [[0.25, 0]]
    assert class_ids.tolist() == [[0, -1]]


def test_what_onnx_cannot_do():
    both = NmsSettings(multi_label=True, class_agnostic=True)
    with pytest.raises(
        DetectorError,
        match="a file's NMS supports multi_label or class_agnostic, found both of them$",
    ):
        session(both)
    with pytest.raises(DetectorError, match="^a file's NMS method is 'nms', found 'fusion'$"):
        session(NmsSettings(nms_method="fusion"))


def test_the_whole_way(network: Detector, tmp_path: Path, rng: np.random.Generator):
    """Detections of a file with NMS equal those of the network with ours."""
    model = copy.deepcopy(network)
    with torch.no_grad():
        for convolution in model.head.m:  # scores that pass the threshold
            convolution.weight *= 20
            convolution.bias.zero_()
    settings = NmsSettings(confidence=0.3, iou=0.5, max_detections=50)
    options = Options(dynamic=True, nms=settings)
    report = export_model(model, "onnx", tmp_path / "a", options=options)
    before_nms = report.certificate.before_nms
    assert 0 < before_nms.boxes_px < 1e-3
    assert 0 < before_nms.scores < 1e-5
    assert report.proof.findings.after_nms.unmatched == 0
    backend = open_backend(report.path)
    assert (backend.eval_nms, backend.metadata.nms) == (settings, settings)
    *_, class_ids = onnx.load(report.path).graph.output
    names = [dimension.dim_param for dimension in class_ids.type.tensor_type.shape.dim]
    assert names == ["batch", "detections"]

    image = rng.integers(0, 255, (50, 70, 3)).astype(np.uint8)
    for asked in (settings, settings.model_copy(update={"confidence": 0.35, "max_detections": 7})):
        (expected,) = Predictor(model, asked)(image)
        (found,) = Predictor(report.path, asked)(image)
        assert len(found) > 0
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)


@pytest.fixture(scope="module")
def silent(network: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of which nobody sees a box: the network's best score is about 8e-5."""
    path = tmp_path_factory.mktemp("silent") / "a.onnx"
    report = export_model(network, "onnx", path, options=Options(nms=NmsSettings()))
    assert report.certificate.after_nms.boxes == 0
    return path


def compare_changed(
    network: Detector, file: Path, path: Path, change: Callable[[onnx.GraphProto], None]
) -> None:
    """Change a file, seal it again, and compare it as an export does."""
    proto = onnx.load(file)
    change(proto.graph)
    metadata = next(entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY)
    onnx.helper.set_model_props(proto, {METADATA_KEY: metadata, SEAL_KEY: UNSEALED})
    onnx.save(proto, path)
    seal(path)
    batches = [np.zeros((1, 3, 64, 64), np.float32)]
    parts, tolerance = onnx_parts(path), tolerance_of("fp32")
    compare_outputs(network, network, OnnxBackend(path), parts, batches, tolerance)


@pytest.mark.slow
def test_a_broken_network_in_front_of_it(network: Detector, silent: Path, tmp_path: Path):
    """All weights of convolutions are zero: no box either, but other candidates."""

    def erase(graph: onnx.GraphProto) -> None:
        weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
        for tensor in graph.initializer:
            if tensor.name in weights:
                zeros = np.zeros(tensor.dims, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))

    compare_changed(network, silent, tmp_path / "a.onnx", lambda _: None)
    with pytest.raises(DetectorError, match=r"^the exported file differs from the network: boxes"):
        compare_changed(network, silent, tmp_path / "b.onnx", erase)


def test_another_nms_than_was_asked_for(network: Detector, silent: Path, tmp_path: Path):
    """IoU 0.46 for 0.45."""

    def loosen(graph: onnx.GraphProto) -> None:
        iou = next(tensor for tensor in graph.initializer if tensor.name == "nms/iou")
        iou.CopyFrom(onnx.numpy_helper.from_array(np.array([0.46], np.float32), iou.name))

    with pytest.raises(DetectorError, match=r"^the exported file's NMS keeps \d+ random"):
        compare_changed(network, silent, tmp_path / "a.onnx", loosen)


def test_where_it_has_no_place(network: Detector, tmp_path: Path):
    options = Options(nms=NmsSettings())
    for form in ("pt2", "openvino"):
        with pytest.raises(DetectorError, match=f"^--nms is not for --format {form}; use onnx$"):
            export_model(network, form, tmp_path / "a", options=options)
