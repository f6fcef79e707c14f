"""OpenVINO's files, converted from ONNX; ``detector.runtime.openvino`` runs them."""

from __future__ import annotations

import io
from pathlib import Path

from torch.export import ExportedProgram

from detector.errors import DetectorError
from detector.export.onnx import onnx_model
from detector.export.program import first_line
from detector.runtime.backend import METADATA_KEY, ModelCard
from detector.runtime.openvino import import_openvino, weights_of
from detector.runtime.seal import SEAL_KEY, UNSEALED, seal


def write_openvino(program: ExportedProgram, path: Path, card: ModelCard, opset: int) -> None:
    """Write a traced program as an ``.xml`` and the ``.bin`` beside it, weights in float32.

    Raises:
        DetectorError: OpenVINO is not installed, or has no form for an operator.
    """
    openvino = import_openvino(path)
    content = onnx_model(program, card, opset).SerializeToString()
    try:
        model = openvino.Core().read_model(io.BytesIO(content))
    except RuntimeError as error:
        raise DetectorError(f"cannot be written for OpenVINO: {first_line(error)}") from error
    model.set_rt_info(card.to_json(), [METADATA_KEY, "card"])
    model.set_rt_info(UNSEALED, [METADATA_KEY, SEAL_KEY])
    openvino.save_model(model, path, compress_to_fp16=False)
    seal(path, weights_of(path))
