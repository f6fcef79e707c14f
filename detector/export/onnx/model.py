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
from detector.runtime.backends.backend import OUTPUTS, ModelMetadata
from detector.runtime.backends.exported import INPUT
from detector.runtime.backends.seal import seal
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
        DetectorError: the exporter is not installed, does not support an operator or the operator
            set, or the file would be too large.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter is written in it)
    except ImportError as error:
        raise DetectorError(
            f"writing ONNX needs onnx and onnxscript ({error}); run: pip install onnx onnxscript"
        ) from error
    proto = _exported(program, metadata, max(options.opset, WRITTEN_OPSET))
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


def _exported(program: ExportedProgram, metadata: ModelMetadata, opset: int) -> Any:
    outputs = OUTPUTS[metadata.task] if metadata.nms is None else NETWORK_OUTPUTS
    try:
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
    except Exception as error:  # the exporter's exceptions have no common base class
        raise DetectorError(f"cannot be written as ONNX: {one_line(error)}") from error
    found = next(item.version for item in proto.opset_import if item.domain == "")
    if found != opset:
        raise DetectorError(f"cannot be written with --opset {opset}; {found} works")
    return proto


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


def _name_dimensions(value: Any, names: tuple[str, ...]) -> None:
    dimensions = value.type.tensor_type.shape.dim
    for dimension, name in zip(dimensions, names, strict=True):
        if dimension.HasField("dim_param"):
            dimension.dim_param = name
