"""ONNX files, written by torch's exporter; :class:`detector.runtime.onnx.OnnxBackend` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from detector.errors import DetectorError
from detector.export.pooling import decompose_pooling
from detector.export.program import first_line, quiet
from detector.runtime.backend import METADATA_KEY, OUTPUTS, ModelCard
from detector.runtime.onnx import INPUT

PRODUCER = "detector"
MAX_BYTES = (1 << 31) - 1
"""Of a file of the format (protocol buffers)."""


def write_onnx(program: ExportedProgram, path: Path, card: ModelCard, opset: int) -> None:
    """Write a traced program.

    Raises:
        DetectorError: the exporter is not installed, has no form for an operator, or cannot write
            this operator set.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter is written in it)
    except ImportError as error:
        raise DetectorError(
            f"writing ONNX needs onnx and onnxscript ({error}); run: pip install onnx onnxscript"
        ) from error
    try:
        with quiet():
            exported = torch.onnx.export(
                decompose_pooling(program),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=list(OUTPUTS[card.task]),
                external_data=False,
                verbose=False,
            )
        assert exported is not None
        proto: Any = exported.model_proto
    except Exception as error:  # the exporter's errors have no common base
        raise DetectorError(f"cannot be written as ONNX: {first_line(error)}") from error
    found = next(item.version for item in proto.opset_import if item.domain == "")
    if found != opset:
        raise DetectorError(f"cannot be written with operator set {opset}; {found} works")
    _tidy(proto, card)
    if proto.ByteSize() > MAX_BYTES:
        raise DetectorError(f"exceeds the {MAX_BYTES} bytes that an ONNX file may have")
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _tidy(proto: Any, card: ModelCard) -> None:
    """Name the open dimensions, add the card, take out where the source code lay."""
    graph = proto.graph
    _name_dimensions(graph.input[0], ("batch", "", "height", "width"))
    for output in graph.output:
        _name_dimensions(output, OUTPUTS[card.task][output.name])
    del graph.value_info[:]  # shapes in between, in symbols that nobody else knows
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
        part.doc_string = ""
    proto.producer_name, proto.producer_version = PRODUCER, card.version
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, card.to_json()


def _name_dimensions(value: Any, names: tuple[str, ...]) -> None:
    dimensions = value.type.tensor_type.shape.dim
    for dimension, name in zip(dimensions, names, strict=True):
        if dimension.HasField("dim_param"):
            dimension.dim_param = name
