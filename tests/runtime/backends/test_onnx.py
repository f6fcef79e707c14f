"""ONNX files through ONNX Runtime: ours, and everything else in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from detector.runtime.backends import onnx as onnx_backend
from detector.runtime.backends.backend import METADATA_KEY
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED, seal
from detector.utils.errors import DetectorError
from tests.runtime.conftest import BOXES, METADATA, NAMES, SCORES, SIZE_HW

UNSEALED_FILE = "no seal: not a file that tools/export.py wrote, or changed since; export it again"


def fails(path, **options) -> str:
    with pytest.raises(DetectorError) as caught:
        OnnxBackend(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_it_runs_a_batch(make_onnx, no_network):
    backend = OnnxBackend(make_onnx(), threads=1)
    images = np.stack([np.full((3, *SIZE_HW), level, np.float32) for level in (1.0, 0.5)])
    boxes, scores = backend(images)
    assert boxes.dtype == scores.dtype == np.float32
    assert np.array_equal(boxes, np.stack([BOXES, BOXES]))
    assert scores == pytest.approx(np.stack([SCORES, SCORES / 2]), abs=1e-6)


def test_what_the_file_says(make_onnx):
    backend = OnnxBackend(make_onnx())
    assert backend.names == NAMES
    assert backend.preprocess == METADATA.preprocess
    assert backend.batch_size is None
    assert not backend.dynamic_size


def test_a_fixed_batch_and_an_open_size(make_onnx):
    backend = OnnxBackend(make_onnx(batch=1, size=("height", "width")))
    assert backend.batch_size == 1
    assert backend.dynamic_size
    assert backend(np.ones((1, 3, 64, 32), np.float32))[1].shape == (1, 3, 2)


def test_a_foreign_file(make_onnx, monkeypatch):
    """Not even opened: a runtime computes what is constant when it reads a file."""
    path = make_onnx(metadata=None)
    assert fails(path) == (
        "no 'detector' metadata (class names, preprocessing): not a file that tools/export.py wrote"
    )
    import onnx
    import onnxruntime

    content = onnx.load(path)
    del content.metadata_props[:]
    onnx.save(content, path)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    assert fails(path) == UNSEALED_FILE


@pytest.mark.parametrize("spelt", [b"\n\x08", b"\n\x88\0", b"\n\x88\x80\0", b"\x8a\0\x08"])
def test_weights_in_other_files(make_onnx, monkeypatch, spelt: bytes):
    """The format lets a number have more bytes than it needs."""
    import onnx
    import onnxruntime
    from onnx.external_data_helper import set_external_data

    path = make_onnx()
    proto = onnx.load(path)
    boxes = next(tensor for tensor in proto.graph.initializer if tensor.name == "boxes")
    set_external_data(boxes, "weights.bin")
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {METADATA_KEY: METADATA.to_json(), SEAL_KEY: UNSEALED})
    short, more = b"\n\x08location\x12\x0bweights.bin", len(spelt) - 2
    long = spelt + b"location\x12" + bytes([11 - more]) + b"weights.bin"[more:]  # as long in all
    assert proto.SerializeToString().count(short) == 1
    path.write_bytes(proto.SerializeToString().replace(short, long))
    seal(path)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    assert fails(path) == "has weights in other files, which no seal covers"


def test_the_bytes_that_are_checked_are_opened(make_onnx, monkeypatch):
    path = make_onnx()
    checked = onnx_backend.read_checked_graph

    def check_and_replace(*arguments: Any) -> Any:
        path.write_bytes(b"other")
        return checked(*arguments)

    monkeypatch.setattr(onnx_backend, "read_checked_graph", check_and_replace)
    boxes, _ = OnnxBackend(path, threads=1)(np.ones((1, 3, *SIZE_HW), np.float32))
    assert np.array_equal(boxes, BOXES[None])
    assert fails(path) == UNSEALED_FILE


def test_a_truncated_file_and_no_onnx_file(make_onnx, tmp_path, capfd):
    path = make_onnx()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert fails(path) == UNSEALED_FILE
    path.write_text("this is no ONNX file")
    assert fails(path) == UNSEALED_FILE
    path.write_bytes(b"")
    assert fails(path) == UNSEALED_FILE
    path.write_text(f"sealed, but no ONNX file {UNSEALED}")
    seal(path)
    assert fails(path) == "is not an ONNX file"
    assert fails(tmp_path / "none.onnx") == "no such file"
    assert fails(tmp_path) == "no such file"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_name": "x"}, "inputs are 'x', expected 'images'"),
        ({"outputs": ("dets", "labels")}, "outputs are 'dets', 'labels', expected 'boxes_xyxy', "
         "'scores'"),
        ({"size": (64, 64)}, "input is 64×64, but its metadata say 32×64"),
        ({"scores": np.ones((3, 5), np.float32)}, "5 classes, but its metadata name 2"),
        ({"metadata": "{}"}, "'detector' metadata: key 'names' is missing"),
        ({"batch": 65}, "takes 65 images at a time, at most 64 are given"),
        ({"boxes": np.ones((3, 5), np.float32), "declared": ("batch", 3, 5)},
         "output 'boxes_xyxy' has 5 numbers a box, expected 4"),
        ({"elem_type": 2}, "input is tensor(uint8), expected tensor(float)"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves(make_onnx, options, message):
    assert fails(make_onnx(**options)) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": BOXES[:2]}, "'scores' has shape (1, 3, 2), expected (1, 2, 2)"),
        ({"boxes": BOXES * np.nan}, "'boxes_xyxy' has a value that is not finite"),
        ({"scores": SCORES * np.inf}, "'scores' has a value that is not finite"),
    ],
)  # fmt: skip
def test_outputs_that_contradict_the_file(make_onnx, options, message):
    path = make_onnx(**options, declared=("batch", "boxes", "columns"))
    with pytest.raises(DetectorError) as caught:
        OnnxBackend(path)(np.ones((1, 3, *SIZE_HW), np.float32))
    assert str(caught.value) == f"{path}: {message}"


def test_devices(make_onnx, monkeypatch):
    path = make_onnx()
    assert fails(path, device="tpu") == (
        "device 'tpu': an ONNX file runs on 'cpu', 'cuda' or 'cuda:1'"
    )
    assert fails(path, device="0") == (
        "device '0': an ONNX file runs on 'cpu', 'cuda' or 'cuda:1'; expected cuda:0"
    )
    assert "'cuda:x'" in fails(path, device="cuda:x")
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert fails(path, device="cuda") == (
        "device 'cuda': this ONNX Runtime has no CUDA; run: pip install onnxruntime-gpu"
    )


def test_a_wrong_input_is_one_line(make_onnx):
    path = make_onnx()
    with pytest.raises(DetectorError) as caught:
        OnnxBackend(path)(np.ones((1, 3, 8, 8), np.float32))
    assert str(caught.value).startswith(f"{path}: ONNX Runtime: Got invalid dimensions for input")
    assert "\n" not in str(caught.value)


def test_without_onnxruntime(make_onnx, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert "run: pip install onnxruntime" in fails(make_onnx())


def test_metadata_of_a_later_version_is_named(make_onnx):
    later = {**json.loads(METADATA.to_json()), "tiles": 4}
    assert fails(make_onnx(metadata=json.dumps(later))) == (
        "'detector' metadata: unknown key 'tiles'; known keys: names, preprocess, version, "
        "eval_nms, stride, task, nms, decoding, precision, arithmetic, "
        "certificate; "
        "written by version 1.0, this is 0.1.0"
    )


def test_a_classifier_s_outputs(make_onnx):
    classifier = json.dumps({**json.loads(METADATA.to_json()), "task": "classify"})
    outputs = ("boxes_xyxy", "probabilities")
    path = make_onnx(metadata=classifier, outputs=outputs, scores=SCORES[0])
    backend = OnnxBackend(path)
    assert backend.task == "classify"
    assert len(backend(np.ones((1, 3, 32, 64), np.float32))) == 1
    assert fails(make_onnx(metadata=classifier)) == (
        "outputs are 'boxes_xyxy', 'scores', expected 'probabilities'"
    )
    assert fails(
        make_onnx(metadata=classifier, outputs=outputs, scores=np.ones(5, np.float32))
    ) == ("5 classes, but its metadata name 2")
    assert fails(make_onnx(metadata=classifier, outputs=outputs)) == (
        "output 'probabilities' has shape (?, 3, 2), expected 2 dimensions"
    )


def with_node(path: Path, operator: str, *inputs: str, **attributes: object) -> None:
    """Add a node, and seal the file anew, as whoever plants it would."""
    import onnx

    proto = onnx.load(path)
    proto.graph.node.append(onnx.helper.make_node(operator, inputs, ["planted"], **attributes))
    huge = onnx.numpy_helper.from_array(np.array([1 << 36]), "huge")
    proto.graph.initializer.append(huge)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {METADATA_KEY: METADATA.to_json(), SEAL_KEY: UNSEALED})
    path.write_bytes(proto.SerializeToString())
    seal(path)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("Loop",), "refused, it was not run: has the operator 'Loop', which is not among those "
         "of networks"),
        (("ConstantOfShape", "huge"), "refused, it was not run: needs more memory than a network: "
         "68,719,476,754 values at once from ConstantOfShape 'planted' on, at most 33,554,432 for "
         "an input of 2,048 pixels"),
    ],
)  # fmt: skip
def test_a_graph_that_would_fill_the_memory(make_onnx, monkeypatch, node, message):
    """A constant of 2^36 values, after the 18 of the outputs: not opened."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    path = make_onnx()
    with_node(path, *node)
    assert fails(path) == message


def test_inputs_are_checked_before_sizes(make_onnx, monkeypatch):
    """A second input of 2³⁰ pixels, or a size other than the metadata's, would allow 2³⁹ values."""
    import onnx
    import onnxruntime

    def reseal(path: Path, change: Callable[[Any], None]) -> Path:
        proto = onnx.load(path)
        change(proto.graph)
        del proto.metadata_props[:]
        onnx.helper.set_model_props(proto, {METADATA_KEY: METADATA.to_json(), SEAL_KEY: UNSEALED})
        path.write_bytes(proto.SerializeToString())
        seal(path)
        return path

    def add_input(graph: Any) -> None:
        graph.input.append(onnx.helper.make_tensor_value_info("x", 1, [1, 1, 1 << 30, 1]))

    def list_weights(graph: Any) -> None:  # as files of format version 3 do
        graph.input.append(onnx.helper.make_tensor_value_info("boxes", 1, list(BOXES.shape)))

    def grow_input(graph: Any) -> None:
        for dimension in graph.input[0].type.tensor_type.shape.dim[2:]:
            dimension.dim_value = 1 << 15

    assert OnnxBackend(reseal(make_onnx(), list_weights)).names == NAMES
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    path = make_onnx()
    with_node(path, "ConstantOfShape", "huge")
    assert fails(reseal(path, add_input)) == "inputs are 'images', 'x', expected 'images'"
    path = make_onnx()
    with_node(path, "ConstantOfShape", "huge")
    assert fails(reseal(path, grow_input)) == "input is 32768×32768, but its metadata say 32×64"


def test_an_input_size_that_would_fill_the_memory(make_onnx):
    """With the input's width w, the added value has 2^36 · w / 64 − 2^36 values.

    Held besides are 18 values of the outputs, and 4 from which that size follows.
    """
    import onnx

    path = make_onnx(size=("height", "width"))
    with_node(path, "ConstantOfShape", "more")
    proto = onnx.load(path)
    nodes = [
        onnx.helper.make_node("Shape", ["images"], ["width"], start=3),
        onnx.helper.make_node("Mul", ["width", "huge"], ["times"]),
        onnx.helper.make_node("Div", ["times", "64"], ["part"]),
        onnx.helper.make_node("Sub", ["part", "huge"], ["more"]),
    ]
    last = proto.graph.node.pop()
    proto.graph.node.extend([*nodes, last])
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([64]), "64"))
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {METADATA_KEY: METADATA.to_json(), SEAL_KEY: UNSEALED})
    path.write_bytes(proto.SerializeToString())
    seal(path)
    backend = OnnxBackend(path)
    assert backend(np.ones((1, 3, *SIZE_HW), np.float32))[1].shape == (1, 3, 2)
    with pytest.raises(DetectorError, match="68,719,476,758 values at once from ConstantOfShape"):
        backend(np.ones((1, 3, 32, 128), np.float32))


def test_text_that_is_not_utf_8(make_onnx):
    path = make_onnx()
    content = path.read_bytes()
    assert content.count(b'"names":["cat"') == 1
    spoiled = content.replace(b'"names":["cat"', b'"names":["\xffat"')
    mark = b"repdet-sha256:"
    start = spoiled.rindex(mark) + len(mark)
    path.write_bytes(spoiled[:start] + b"0" * 64 + spoiled[start + 64 :])
    seal(path)
    assert fails(path) == "has text that is not UTF-8"
