"""INT8 in ONNX files: ONNX Runtime's quantiser, with ranges that lose least.

Weights are signed with a scale for each output channel, or one for all of a layer, activations
unsigned with one scale (U8S8 in QDQ form): MLAS has its fast kernels for that pair, also for
depthwise convolutions.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from detector.export.onnx.model import saver
from detector.export.options import Save
from detector.export.proof.comparison import InputBatch
from detector.export.quantize.ranges import (
    CLIPPED,
    Histogram,
    clipped_range,
    range_before_silu,
)
from detector.export.rows import row_in
from detector.runtime.backends.backend import Arrays
from detector.runtime.backends.exported import INPUT
from detector.runtime.backends.onnx import open_session

OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "Sigmoid", "Relu", "Clip", "LeakyRelu", "Concat"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Split", "Slice"),
)
"""Operators that compute in 8 bits where they belong to a row of the network; decoding, which is
of no row, stays in float."""

MOVES = ("Concat", "Reshape", "Transpose", "Split", "Slice")
"""Operators that move values and compute none."""


class OnnxInt8:
    """An ONNX network with the ranges of its activations, of which rows can be left in float.

    Args:
        proto: onnx.ModelProto in fp32, whose nodes are named by rows; not modified.
        batches: normalized calibration images, in batches that the network takes.
        per_tensor: weights have one scale a layer, in place of one for each output channel.

    Attributes:
        rows: indices of the rows that have operators to quantise.
    """

    def __init__(self, proto: Any, batches: Sequence[InputBatch], per_tensor: bool = False) -> None:
        self._proto = _prepared(proto)
        last = _last_of_rows(self._proto.graph)
        _store_weights(self._proto.graph, last, per_tensor)
        self._per_tensor = per_tensor
        self._nodes = {
            node.name: row
            for node in self._proto.graph.node
            if node.op_type in OPERATORS
            and node.name not in last
            and (row := row_in(node.name)) is not None
        }
        self.rows = tuple(sorted(set(self._nodes.values())))
        self._histograms = _histograms(self._proto, self._nodes, batches)
        self._clipped = CLIPPED[0]

    def model(self, in_float: Collection[int] = ()) -> Any:
        """Return an onnx.ModelProto in INT8, except for these rows."""
        from onnxruntime import quantization
        from onnxruntime.quantization.calibrate import TensorData, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.quant_utils import add_infer_metadata

        chosen = [name for name, row in self._nodes.items() if row not in in_float]
        if not chosen:
            return copy.deepcopy(self._proto)
        ranges = {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in self._ranges().items()
        }
        kind = quantization.QuantType
        proto = copy.deepcopy(self._proto)
        # The shapes are known. To infer them, it would write the network to a temporary file with a
        # name from the network card's address, for which a socket is opened.
        add_infer_metadata(proto)
        with _quiet():
            quantizer = QDQQuantizer(
                proto,
                per_channel=not self._per_tensor,
                reduce_range=False,
                weight_qType=kind.QInt8,
                activation_qType=kind.QUInt8,
                tensors_range=TensorsData(quantization.CalibrationMethod.MinMax, ranges),
                nodes_to_quantize=chosen,
                nodes_to_exclude=[],
                op_types_to_quantize=list(OPERATORS),
                extra_options={},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        return _tidy(quantizer.model.model)

    def other_ranges(self) -> Iterator[OnnxInt8]:
        """Yield the network with other ranges of its activations; see :class:`Quantizable`."""
        for clipped in CLIPPED[1:]:
            other = copy.copy(self)
            other._clipped = clipped
            yield other

    def _ranges(self) -> dict[str, tuple[float, float]]:
        """Return the range of each activation."""
        before_silu = _before_silu(self._proto.graph)
        return {
            name: (range_before_silu if name in before_silu else clipped_range)(one, self._clipped)
            for name, one in self._histograms.items()
        }

    def save(self, in_float: Collection[int]) -> Save:
        """Return the function that writes the network; see :class:`Quantizable`."""
        return saver(self.model(in_float))

    def run(self, in_float: Collection[int], batches: Sequence[InputBatch]) -> list[Arrays]:
        """Return the outputs of :meth:`model` for each batch."""
        session = _session(self.model(in_float))
        return [tuple(session.run(None, {INPUT: batch})) for batch in batches]


def _prepared(proto: Any) -> Any:
    """Return a copy with the shapes of all values, which the quantiser needs."""
    from onnx import shape_inference

    return shape_inference.infer_shapes(proto)


def _tidy(proto: Any) -> Any:
    """Remove what the quantiser notes beside the network."""
    del proto.graph.value_info[:]
    return proto


def _histograms(
    proto: Any, nodes: Collection[str], batches: Sequence[InputBatch]
) -> dict[str, Histogram]:
    """Return the histogram of each activation of the nodes."""
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    values = dict.fromkeys(
        value
        for node in graph.node
        if node.name in nodes
        for value in (*node.input, *node.output)
        if value and value not in constants
    )
    session = _session(_with_outputs(proto, [name for name in values if name != INPUT]))
    extremes: dict[str, tuple[float, float]] = {}
    for found in _values(session, values, batches):
        for name, array in found.items():
            low, high = extremes.get(name, (0.0, 0.0))
            extremes[name] = min(low, float(array.min())), max(high, float(array.max()))
    histograms = {name: Histogram(*ends) for name, ends in extremes.items()}
    for found in _values(session, values, batches):
        for name, array in found.items():
            histograms[name].add(array)
    return histograms


def _values(
    session: Any, names: Collection[str], batches: Sequence[InputBatch]
) -> Iterator[dict[str, Any]]:
    """Yield the values of these names for each batch."""
    computed = [name for name in names if name != INPUT]
    for batch in batches:
        found = dict(zip(computed, session.run(computed, {INPUT: batch}), strict=True))
        yield {INPUT: batch, **found} if INPUT in names else found


def _before_silu(graph: Any) -> set[str]:
    """Return the values that are read by ``x · sigmoid(x)`` only."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def feeds_silu(name: str) -> bool:
        found = {node.op_type: node for node in readers.get(name, ())}
        if len(readers.get(name, ())) != 2 or set(found) != {"Sigmoid", "Mul"}:
            return False
        return found["Sigmoid"].output[0] in found["Mul"].input

    return {name for name in readers if feeds_silu(name)}


def _last_of_rows(graph: Any) -> set[str]:
    """Return the nodes that give the raw outputs, before decoding, which is of no row.

    They stay in float: boxes and scores of all kinds would share one range of 256 steps.
    """
    makers = {name: node for node in graph.node for name in node.output}
    leaving = [output.name for output in graph.output]
    leaving += [name for node in graph.node if row_in(node.name) is None for name in node.input]
    last: set[str] = set()
    while leaving:
        node = makers.get(leaving.pop())
        if node is None or node.name in last or row_in(node.name) is None:
            continue
        last.add(node.name)
        if node.op_type in MOVES:
            leaving += node.input
    return last


def _store_weights(graph: Any, names: Collection[str], per_tensor: bool) -> None:
    """Store the weights of convolutions in 8 bits, with a scale for each output channel or layer.

    The convolutions still compute in float: a file with many classes would be a fifth larger, and
    the rounding of weights changes little, that of activations much.
    """
    from onnx import helper, numpy_helper

    weights = {
        node.input[1] for node in graph.node if node.name in names and node.op_type == "Conv"
    }
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in weights:
            continue
        value = numpy_helper.to_array(tensor)
        largest = np.asarray(np.abs(value).max(axis=None if per_tensor else (1, 2, 3)))
        scale = np.where(largest == 0, np.float32(1), largest / np.float32(127))
        rounded = np.round(value / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        name, stored, of_scale = tensor.name, f"{tensor.name}/int8", f"{tensor.name}/scale"
        tensor.CopyFrom(numpy_helper.from_array(rounded, stored))
        graph.initializer.append(numpy_helper.from_array(scale, of_scale))
        casts.append(helper.make_node("DequantizeLinear", [stored, of_scale], [name], axis=0))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _with_outputs(proto: Any, names: Sequence[str]) -> Any:
    """Return a copy of a network that returns these values, too."""
    from onnx import ValueInfoProto

    proto = copy.deepcopy(proto)
    given = {output.name for output in proto.graph.output}
    proto.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in given)
    return proto


def _session(proto: Any) -> Any:
    return open_session(proto.SerializeToString(), Path("calibration.onnx"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser, which logs warnings by the root logger, within the block."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
