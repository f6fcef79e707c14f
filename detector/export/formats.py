"""The table of export formats: how each is written, opened and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from detector.export.onnx.model import convert_onnx
from detector.export.onnx.parts import onnx_parts
from detector.export.openvino import convert_openvino, openvino_arithmetic
from detector.export.options import Options, Save
from detector.export.proof.comparison import InputBatch
from detector.export.proof.nms_check import Parts
from detector.export.pt2.backend import Pt2Backend, convert_pt2
from detector.export.quantize.onnx_int8 import OnnxInt8
from detector.export.quantize.openvino_int8 import OpenVinoInt8
from detector.export.quantize.quantizable import Quantizable
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import OpenVinoBackend, weights_of
from detector.runtime.backends.precision import check_precision
from detector.settings.values import FloatPrecision, FormatName, PrecisionName
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class FileFormat:
    """An export format.

    Attributes:
        suffix: suffix of the file.
        convert: converts a traced program and returns the function that writes it.
        open: opens a file as a backend.
        libraries: distributions needed to write and run a file.
        beside: returns further files that belong to a file.
        channels_last: raw outputs are (b, h, w, channels), as the runtime computes them.
        arithmetic: returns the precision of the arithmetic for files in a precision.
        parts: splits a file with NMS into its network and its NMS; None if the format does not
            support NMS inside the file.
        quantize: makes a network in INT8 of an onnx.ModelProto in fp32 and calibration images, with
            one scale for the weights of a layer if the last argument is True; None if the format
            does not support it.
        quantizer: distribution that does so, where it is not one of ``libraries``.
    """

    suffix: str
    convert: Callable[[ExportedProgram, ModelMetadata, Options], Save]
    open: Callable[[Path], ExportedBackend]
    libraries: tuple[str, ...]
    beside: Callable[[Path], tuple[Path, ...]] = lambda path: ()
    channels_last: bool = False
    arithmetic: Callable[[PrecisionName], FloatPrecision] = lambda precision: "fp32"
    parts: Callable[[Path], Parts] | None = None
    quantize: Callable[[Any, Sequence[InputBatch], bool], Quantizable] | None = None
    quantizer: tuple[str, ...] = ()

    @property
    def supports_nms(self) -> bool:
        """True if a file of this format can contain NMS."""
        return self.parts is not None

    @property
    def has_opset(self) -> bool:
        """True if a file of this format is made from ONNX operators."""
        return "onnx" in self.libraries

    def path(self, output: str | Path) -> Path:
        """Return the path with the format's suffix appended, unless it has it.

        >>> FORMATS["onnx"].path("model.v1").name
        'model.v1.onnx'
        """
        path = Path(output)
        return path if path.suffix == self.suffix else path.with_name(f"{path.name}{self.suffix}")

    def files(self, path: Path) -> tuple[Path, ...]:
        """Return the paths of the file and of the files that belong to it."""
        return (path, *self.beside(path))


FORMATS: dict[FormatName, FileFormat] = {
    "onnx": FileFormat(
        suffix=".onnx",
        convert=convert_onnx,
        open=OnnxBackend,
        libraries=("onnx", "onnxscript", "onnxruntime"),
        parts=onnx_parts,
        quantize=OnnxInt8,
    ),
    "openvino": FileFormat(
        suffix=".xml",
        convert=convert_openvino,
        open=OpenVinoBackend,
        libraries=("onnx", "onnxscript", "openvino"),
        beside=lambda path: (weights_of(path),),
        channels_last=True,
        arithmetic=openvino_arithmetic,
        quantize=OpenVinoInt8,
        quantizer=("nncf",),
    ),
    "pt2": FileFormat(suffix=".pt2", convert=convert_pt2, open=Pt2Backend, libraries=()),
}


def format_for(name: FormatName, options: Options) -> FileFormat:
    """Return the format of that name.

    Raises:
        DetectorError: it does not support the options; the message names formats that do.
    """
    form = FORMATS[name]
    check_precision(options.precision, name)
    if options.nms is not None and not form.supports_nms:
        able = [key for key, other in FORMATS.items() if other.supports_nms]
        raise DetectorError(f"--nms is not for --format {name}; use {' or '.join(able)}")
    return form
