"""The formats: how each is converted to, opened, and what its file is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.export import ExportedProgram

from detector.export.onnx.model import convert_onnx
from detector.export.onnx.parts import onnx_parts
from detector.export.openvino import convert_openvino
from detector.export.options import Options, Save
from detector.export.proof.nms_check import Parts
from detector.export.pt2.backend import Pt2Backend, convert_pt2
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import OpenVinoBackend, weights_of
from detector.runtime.backends.precision import check_precision
from detector.settings import FormatName
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class FileFormat:
    """One format.

    Attributes:
        suffix: of the file.
        convert: a traced program → what writes it.
        open: the file → what runs it.
        libraries: distributions that take part in writing and running it.
        beside: further files that belong to it.
        parts: a file that holds the suppression → its network and that, each by itself; None where
            the format can hold none.
    """

    suffix: str
    convert: Callable[[ExportedProgram, ModelMetadata, Options], Save]
    open: Callable[[Path], ExportedBackend]
    libraries: tuple[str, ...]
    beside: Callable[[Path], tuple[Path, ...]] = lambda path: ()
    parts: Callable[[Path], Parts] | None = None

    @property
    def supports_nms(self) -> bool:
        """Whether it can hold the suppression."""
        return self.parts is not None

    def path(self, output: str | Path) -> Path:
        """The path with the format's suffix added, unless it has it.

        >>> FORMATS["onnx"].path("model.v1").name
        'model.v1.onnx'
        """
        path = Path(output)
        return path if path.suffix == self.suffix else path.with_name(f"{path.name}{self.suffix}")

    def files(self, path: Path) -> tuple[Path, ...]:
        """The file and those beside it."""
        return (path, *self.beside(path))


FORMATS: dict[FormatName, FileFormat] = {
    "onnx": FileFormat(
        suffix=".onnx",
        convert=convert_onnx,
        open=OnnxBackend,
        libraries=("onnx", "onnxscript", "onnxruntime"),
        parts=onnx_parts,
    ),
    "openvino": FileFormat(
        suffix=".xml",
        convert=convert_openvino,
        open=OpenVinoBackend,
        libraries=("onnx", "onnxscript", "openvino"),
        beside=lambda path: (weights_of(path),),
    ),
    "pt2": FileFormat(suffix=".pt2", convert=convert_pt2, open=Pt2Backend, libraries=()),
}


def format_for(name: FormatName, options: Options) -> FileFormat:
    """Return the format of that name.

    Raises:
        DetectorError: it does not have what is asked for; names the formats that do.
    """
    form = FORMATS[name]
    check_precision(options.precision, name)
    if options.nms is not None and not form.supports_nms:
        able = [key for key, other in FORMATS.items() if other.supports_nms]
        raise DetectorError(f"--nms is not for --format {name}; use {' or '.join(able)}")
    return form
