"""Export to OpenVINO by way of ONNX; ``detector.runtime.backends.openvino`` runs the files."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from detector.export.onnx.model import onnx_model
from detector.export.options import Options, Save
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.openvino import (
    arithmetics,
    import_openvino,
    openvino_core,
    reason_of,
    weights_of,
)
from detector.runtime.backends.seal import seal
from detector.settings.values import FloatPrecision, PrecisionName
from detector.utils.errors import DetectorError

SHARED_BYTES = 64
"""Size of the largest constants that operators share with others of equal value."""

_BETWEEN_TAGS = re.compile(rb">\s+<")
"""Line breaks and indents of an ``.xml`` file; inside attributes ``<`` is written as ``&lt;``."""


def convert_openvino(program: ExportedProgram, metadata: ModelMetadata, options: Options) -> Save:
    """Convert a traced program to an ``.xml`` and the ``.bin`` beside it.

    Raises:
        DetectorError: OpenVINO is not installed, or does not support an operator.
    """
    openvino = import_openvino()
    content = onnx_model(program, metadata, replace(options, precision="fp32")).SerializeToString()
    try:
        model = openvino_core(openvino).read_model(io.BytesIO(content))
    except RuntimeError as error:
        raise DetectorError(f"cannot be written for OpenVINO: {reason_of(error)}") from error

    return saver(model, compress_to_fp16=options.precision == "fp16")


def saver(model: Any, compress_to_fp16: bool = False) -> Save:
    """Return the function that writes an openvino.Model with its seal.

    Its small constants are shared, and the ``.xml`` is written without indents: that of a network
    in INT8 is nearly as large as its weights otherwise.
    """
    openvino = import_openvino()
    _share_constants(model)

    def save(path: Path, properties: Mapping[str, str]) -> None:
        for key, value in properties.items():
            model.set_rt_info(value, key)
        path.touch()  # its error about a place that takes no files is better than OpenVINO's
        try:
            openvino.save_model(model, path, compress_to_fp16=compress_to_fp16)
        except RuntimeError as error:
            raise DetectorError(f"OpenVINO cannot write it: {reason_of(error)}") from error
        path.write_bytes(_BETWEEN_TAGS.sub(b"><", path.read_bytes()))
        seal(path, weights_of(path))

    return save


def _share_constants(model: Any) -> None:
    """Let operators read one small constant in place of equal ones, and give all short names.

    NNCF adds four numbers to each rounded tensor, most of which are equal to others.
    """
    found: dict[tuple[Any, ...], Any] = {}
    constants = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    for number, node in enumerate(constants):
        node.set_friendly_name(f"c{number}")
        if node.get_byte_size() > SHARED_BYTES:
            continue
        kind = node.get_element_type().get_type_name(), tuple(node.get_output_shape(0))
        first = found.setdefault((*kind, node.get_data().tobytes()), node)
        if first is not node:
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(first.output(0))


def openvino_arithmetic(precision: PrecisionName) -> FloatPrecision:
    """Return the precision of the arithmetic for files in a precision.

    What is not in 8 bits is computed in bf16, where this machine can measure what that costs.
    """
    if precision == "bf16":
        return "bf16"
    has_bf16 = "bf16" in arithmetics(openvino_core(import_openvino()), "CPU")
    return "bf16" if precision == "int8" and has_bf16 else "fp32"
