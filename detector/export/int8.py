"""Export in INT8: fuse, trace, quantise, pass the gate on AP, then write as any other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from detector.export.formats import format_for
from detector.export.onnx.model import onnx_model
from detector.export.options import Options, Save
from detector.export.program import trace
from detector.export.proof.proof import Candidate
from detector.export.quantize.gate import Gate, Int8Request, accept_int8
from detector.export.rows import naming_rows
from detector.export.run import (
    Draft,
    ExportReport,
    check_request,
    model_metadata,
    properties,
    write_proven,
)
from detector.model.detector import Detector
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.values import FormatName


def export_int8(
    model: Detector,
    format: FormatName,
    output: str | Path,
    images: Sequence[Tensor] = (),
    *,
    size_hw: tuple[int, int] | None = None,
    options: Options,
    request: Int8Request,
    command: str = "",
) -> ExportReport:
    """Write a network in INT8, with the fewest rows in float so that AP drops no more than allowed.

    Args:
        model: the network; not modified.
        format: ``onnx`` or ``openvino``.
        output: path of the file; the format's suffix is appended if it is missing.
        images: as :func:`detector.export.run.export_model`.
        size_hw: input size, pixels; default: the network's own.
        options: properties of the file; its precision is int8.
        request: what it is made and judged by.
        command: command line, recorded in the certificate.

    Raises:
        DetectorError: AP drops by more than allowed, or as :func:`export_model`. No file is written
            then, and an existing file is not changed.
    """
    form = format_for(format, options)
    assert form.quantize is not None
    metadata = model_metadata(model, size_hw or model.preprocess.size_hw, options, form)
    check_request(model, metadata, images, options.dynamic)
    candidate = Candidate.of(model, images)
    batches = request.calibration.batches(metadata.preprocess, options.fixed_batch or 1)
    modules = {index: row.module for index, row in enumerate(model.plan)}

    def open_saved(save: Save, folder: Path) -> ExportedBackend:
        trial = form.path(folder / "trial")
        save(trial, properties(metadata))
        return form.open(trial)

    with naming_rows(model):
        size_hw = metadata.preprocess.size_hw
        program = trace(candidate.fused, size_hw, options.fixed_batch, metadata.decoding)
        proto = onnx_model(program, metadata, replace(options, precision="fp32"))
        network = form.quantize(proto, batches, request.per_tensor)
        gate = Gate(network, request, candidate.original, metadata, open_saved)
        accepted = accept_int8(gate, batches, modules)
        draft = Draft(form, form.path(output), accepted.save, metadata, accepted)
        return write_proven(draft, candidate, None, command)
