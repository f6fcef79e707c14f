"""Networks in INT8 by ONNX Runtime and NNCF."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from detector.export.formats import FORMATS
from detector.export.onnx.model import onnx_model
from detector.export.options import Options
from detector.export.program import trace
from detector.export.quantize.onnx_int8 import OnnxInt8
from detector.export.quantize.openvino_int8 import OpenVinoInt8
from detector.export.quantize.quantizable import Quantizable
from detector.export.quantize.sensitivity import relative_error
from detector.export.run import model_metadata
from detector.model import deploy
from detector.model.detector import Detector
from detector.utils.errors import DetectorError

SIZE_HW = (64, 64)
ROWS = (0, 1, 2, 3, 4, 5, 6, 7)


def needs_nncf() -> None:
    """Skip without NNCF, which is not imported here: that would be with its telemetry."""
    if importlib.util.find_spec("nncf") is None:
        pytest.skip('needs nncf: pip install ".[int8]"')


@pytest.fixture(scope="module")
def proto(network: Detector) -> Any:
    fused, _ = deploy.deploy(network, [])
    options = Options(decoded=True)
    program = trace(fused, SIZE_HW, 1)
    metadata = model_metadata(network, SIZE_HW, options, FORMATS["onnx"])
    return onnx_model(program, metadata, options)


@pytest.fixture(scope="module")
def batches(images: torch.Tensor) -> list[Any]:
    return [one.numpy()[None] for one in images]


@pytest.fixture(scope="module")
def of_onnx(proto: Any, batches: list[Any]) -> OnnxInt8:
    return OnnxInt8(proto, batches)


@pytest.fixture(scope="module")
def of_openvino(proto: Any, batches: list[Any]) -> OpenVinoInt8:
    needs_nncf()
    return OpenVinoInt8(proto, batches)


@pytest.mark.parametrize("name", ["of_onnx", "of_openvino"])
def test_rounding_changes_little(
    name: str, batches: list[Any], request: pytest.FixtureRequest, no_network: list[str]
):
    """All rows in float are the network itself; all in INT8 change it by a hundredth or so."""
    network: Quantizable = request.getfixturevalue(name)
    exact = network.run(network.rows, batches)
    rounded = network.run((), batches)
    assert relative_error(exact, exact) == 0
    assert 1e-5 < relative_error(exact, rounded) < 0.05
    one = network.run([row for row in network.rows if row != 4], batches)
    assert 0 < relative_error(exact, one) < 0.05


def test_ranges_of_openvino(of_openvino: OpenVinoInt8, batches: list[Any]):
    """Symmetric ranges, which need no zero points, then those from SiLU's lowest value."""
    (other,) = of_openvino.other_ranges()
    lows_highs = [lowest_and_highest(one, batches) for one in (of_openvino, other)]
    assert lows_highs[0]
    assert all(low == pytest.approx(-high * 128 / 127) for low, high in lows_highs[0])
    assert all(-0.3 < low < 0 for low, _ in lows_highs[1])
    exact = of_openvino.run(ROWS, batches)
    errors = [relative_error(exact, one.run((), batches)) for one in (of_openvino, other)]
    assert errors[1] < errors[0] < 0.05


def lowest_and_highest(network: OpenVinoInt8, batches: list[Any]) -> list[tuple[float, float]]:
    """Return the ranges of the activations that may be negative."""
    found = []
    for node in network._quantised((), batches).get_ops():
        if node.get_type_name() == "FakeQuantize":
            low, high = (value.get_node().data for value in node.input_values()[1:3])
            if low.size == 1 and low.item() < 0:
                found.append((low.item(), high.item()))
    return found


def test_rows_of_onnx(of_onnx: OnnxInt8):
    assert of_onnx.rows == ROWS[:7]  # the head's convolutions give the raw outputs


def test_rows_of_openvino(of_openvino: OpenVinoInt8):
    assert of_openvino.rows == ROWS


def convolutions(proto: Any) -> Counter[bool]:
    """Return how many convolutions compute in 8 bits, which their outputs are rounded to."""
    rounded = {node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    return Counter(node.output[0] in rounded for node in proto.graph.node if node.op_type == "Conv")


def test_what_stays_in_float(of_onnx: OnnxInt8):
    """12 convolutions: 3 of one row each, 2 of the SPPF, 5 of the C3 in row 4, 2 of the head."""
    whole, without = convolutions(of_onnx.model()), convolutions(of_onnx.model({4}))
    assert whole[False] == 2  # of the head
    assert without[False] == 2 + 5
    assert whole.total() == without.total()


def test_decoding_stays_in_float(of_onnx: OnnxInt8):
    graph = of_onnx.model().graph
    scaled = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    decoding = [node for node in graph.node if not node.name.startswith("rows.")]
    decoding = [node for node in decoding if "QuantizeLinear" not in node.op_type]
    decoding = [node for node in decoding if node.op_type != "DequantizeLinear"]
    assert len(decoding) > 5
    assert not [node.name for node in decoding if scaled & set(node.input)]


def test_the_network_is_not_changed(proto: Any, of_onnx: OnnxInt8):
    before = proto.SerializeToString()
    of_onnx.model()
    assert proto.SerializeToString() == before


def test_a_scale_for_each_channel(of_onnx: OnnxInt8):
    from onnx import numpy_helper

    arrays = {one.name: numpy_helper.to_array(one) for one in of_onnx.model().graph.initializer}
    scaled = {
        node.input[0]: node.input[1]
        for node in of_onnx.model().graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays
    }
    weights = {name: scale for name, scale in scaled.items() if arrays[name].ndim == 4}
    assert len(weights) == 12  # those of the head are stored in 8 bits, too
    of_head = next(array for name, array in arrays.items() if name.endswith("m.0.weight/int8"))
    assert of_head.dtype == np.int8
    assert all(arrays[scale].shape == arrays[name].shape[:1] for name, scale in weights.items())


def test_a_scale_for_each_layer(proto: Any, batches: list[Any], of_onnx: OnnxInt8):
    """Weights that are small beside others of their layer lose more than with their own scales."""
    from onnx import numpy_helper

    one = OnnxInt8(proto, batches, per_tensor=True)
    graph = one.model().graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scaled = {
        node.input[0]: arrays[node.input[1]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays
    }
    of_weights = [scale for name, scale in scaled.items() if arrays[name].ndim == 4]
    assert len(of_weights) == 12
    assert all(scale.size == 1 for scale in of_weights)
    exact = one.run(one.rows, batches)
    losses = [relative_error(exact, network.run((), batches)) for network in (of_onnx, one)]
    assert losses[0] < losses[1] < 0.1


@pytest.mark.slow
def test_a_scale_for_each_layer_by_nncf(proto: Any, batches: list[Any], of_openvino: OpenVinoInt8):
    one = OpenVinoInt8(proto, batches, per_tensor=True)

    def scales(network: OpenVinoInt8) -> list[int]:
        """Number of scales of each layer: those that weights in 8 bits are multiplied with."""
        found = []
        for node in network._quantised((), batches).get_ops():
            if node.get_type_name() != "Multiply":
                continue
            converted, scale = (node.input_value(index).get_node() for index in (0, 1))
            if converted.get_type_name() == "Convert":
                found.append(int(np.prod(scale.get_output_shape(0))))
        return found

    assert set(scales(one)) == {1}
    assert len(scales(one)) == len(scales(of_openvino)) == 12
    assert 1 not in scales(of_openvino)


def test_silu_is_one_operator_for_openvino(of_openvino: OpenVinoInt8):
    kinds = Counter(node.get_type_name() for node in of_openvino._model.get_ops())
    assert kinds["Swish"] > 5


def test_the_same_file_twice(  # but for the numbers that OpenVINO counts on within a process
    of_openvino: OpenVinoInt8, of_onnx: OnnxInt8, tmp_path_factory: Any
):
    from detector.runtime.backends.seal import SEAL_KEY, UNSEALED

    def written(save: Callable[..., None], name: str) -> list[bytes]:
        folder = tmp_path_factory.mktemp("twice")
        save(folder / name, {SEAL_KEY: UNSEALED})
        contents = [path.read_bytes() for path in sorted(folder.iterdir())]
        return [re.sub(rb"_\d+|repdet-sha256:\w+", b"", content) for content in contents]

    for network, name in ((of_onnx, "a.onnx"), (of_openvino, "a.xml")):
        assert written(network.save((4,)), name) == written(network.save((4,)), name)


def test_nncf_is_an_extra(monkeypatch: pytest.MonkeyPatch, proto: Any):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(DetectorError) as caught:
        OpenVinoInt8(proto, [])
    assert str(caught.value) == 'nncf is not installed; run: pip install "repdet[int8]"'


def test_nncf_without_telemetry():
    """In a process of its own: what reports to a server is never imported."""
    needs_nncf()
    code = (
        "import sys\n"
        "from detector.export.quantize.openvino_int8 import import_nncf\n"
        "nncf = import_nncf()\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "from nncf.telemetry.wrapper import NNCFTelemetryStub, telemetry\n"
        "print(isinstance(telemetry, NNCFTelemetryStub))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"


def test_nncf_that_was_imported_with_telemetry(monkeypatch: pytest.MonkeyPatch, proto: Any):
    monkeypatch.setitem(sys.modules, "nncf", np)
    monkeypatch.setitem(sys.modules, "openvino_telemetry", np)
    with pytest.raises(DetectorError, match="NNCF was imported before, with telemetry"):
        OpenVinoInt8(proto, [])
