"""Export to ONNX by torch's exporter; ``detector.runtime.backends.onnx`` runs the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from detector.export.onnx.fp16 import store_as_fp16
from detector.export.onnx.nms import NETWORK_OUTPUTS, with_nms
from detector.export.onnx.opset import WRITTEN_OPSET, lower_opset
from detector.export.onnx.pooling import decompose_pooling
from detector.export.options import Options, Save
from detector.export.program import quiet
from detector.export.rows import RowError, node_of_error, row_in, row_of_node, row_of_onnx
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.exported import INPUT
from detector.runtime.backends.onnx_operators import OPERATORS
from detector.runtime.backends.seal import seal
from detector.settings.export import MAX_OPSET
from detector.utils.errors import DetectorError, one_line

PRODUCER = "detector"
MAX_BYTES = (1 << 31) - 1
"""Maximum size of an ONNX file, a limit of protocol buffers."""


def convert_onnx(program: ExportedProgram, metadata: ModelMetadata, options: Options) -> Save:
    """Convert a traced program to an ONNX file.

    Raises:
        DetectorError: see :func:`onnx_model`.
    """
    return saver(onnx_model(program, metadata, options))


def saver(proto: Any) -> Save:
    """Return the function that writes an onnx.ModelProto; its own properties are replaced."""

    def save(path: Path, properties: Mapping[str, str]) -> None:
        del proto.metadata_props[:]
        for key, value in properties.items():
            proto.metadata_props.add(key=key, value=value)
        path.write_bytes(proto.SerializeToString())
        seal(path)

    return save


def onnx_model(program: ExportedProgram, metadata: ModelMetadata, options: Options) -> Any:
    """Convert a traced program to an onnx.ModelProto.

    Raises:
        DetectorError: the exporter is not installed, or the file would be too large.
        RowError: the exporter, the operator set or the reader does not support an operator.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter is written in it)
    except ImportError as error:
        raise DetectorError(
            f"writing ONNX needs onnx and onnxscript ({error}); run: pip install onnx onnxscript"
        ) from error
    proto = _converted(program, metadata, options.opset)
    _check_operators(proto)
    if options.nms is not None:
        proto = with_nms(proto, options.nms, len(metadata.names))
    if options.opset < WRITTEN_OPSET:
        proto = lower_opset(proto, options.opset)
    if options.precision == "fp16":
        store_as_fp16(proto)
    _tidy(proto, metadata)
    if proto.ByteSize() > MAX_BYTES:
        raise DetectorError(f"exceeds the {MAX_BYTES} bytes that an ONNX file may have")
    onnx.checker.check_model(proto)
    return proto


def _converted(program: ExportedProgram, metadata: ModelMetadata, opset: int) -> Any:
    """Convert a program, or raise an error about the row that cannot be, with a remedy."""
    written = max(opset, WRITTEN_OPSET)
    try:
        return _exported(program, metadata, written)
    except Exception as error:  # the exporter's exceptions have no common base class
        node = node_of_error(error)
        what = one_line(error) if node is None else f"the operator {node.target}"
        works = _first_opset(program, metadata, written + 1)
        remedy = "use --format pt2" if works is None else f"use --opset {works}"
        message = f"cannot be written as ONNX with --opset {opset}: {what}; {remedy}"
        row = row_in(str(error)) if node is None else row_of_node(node)
        raise RowError(message, row) from error


def _first_opset(program: ExportedProgram, metadata: ModelMetadata, first: int) -> int | None:
    """Return the first operator set from ``first`` on that a program can be written in."""
    for opset in range(first, MAX_OPSET + 1):
        try:
            _exported(program, metadata, opset)
        except Exception:  # as in _converted
            continue
        return opset
    return None


def _exported(program: ExportedProgram, metadata: ModelMetadata, opset: int) -> Any:
    import onnx

    outputs = list(metadata.outputs) if metadata.nms is None else NETWORK_OUTPUTS
    with quiet():
        exported = torch.onnx.export(
            decompose_pooling(program),
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=list(outputs),
            external_data=False,
            verbose=False,
        )
    assert exported is not None
    proto: Any = exported.model_proto
    found = next(item.version for item in proto.opset_import if item.domain == "")
    if found != opset:
        raise DetectorError(f"the exporter wrote {found}")
    _name_by_rows(proto)
    onnx.checker.check_model(proto)
    return proto


def _check_operators(proto: Any) -> None:
    """Raise RowError for an operator that the reader of ONNX files refuses."""
    for node in proto.graph.node:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        if name not in OPERATORS:
            message = f"ONNX files do not take the operator {name}; use --format pt2"
            raise RowError(message, row_of_onnx(node))


def _name_by_rows(proto: Any) -> None:
    """Put a node's row before its name, so that the messages of runtimes tell it."""
    for node in proto.graph.node:
        row = row_of_onnx(node)
        if row is not None:
            node.name = f"rows.{row}/{node.name}"


def _tidy(proto: Any, metadata: ModelMetadata) -> None:
    """Name the dynamic dimensions and remove traces of the source code."""
    graph = proto.graph
    _name_dimensions(graph.input[0], ("batch", "", "height", "width"))
    for output in graph.output:
        _name_dimensions(output, metadata.outputs[output.name])
    del graph.value_info[:]  # intermediate shapes, in the exporter's own symbols
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
        part.doc_string = ""
    proto.producer_name, proto.producer_version = PRODUCER, metadata.version


def _name_dimensions(value: Any, names: tuple[str | int, ...]) -> None:
    dimensions = value.type.tensor_type.shape.dim
    for dimension, name in zip(dimensions, names, strict=True):
        if dimension.HasField("dim_param"):
            dimension.dim_param = str(name)
