"""ONNX files through ONNX Runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import Arrays, ModelMetadata
from detector.runtime.backends.exported import INPUT, ExportedBackend, Shape
from detector.runtime.backends.seal import check_seal
from detector.utils.errors import DetectorError, one_line
from detector.utils.synonyms import device_hint

_SILENT = 4  # ONNX Runtime's log level "fatal": its errors come back as exceptions
_FLOAT32 = "tensor(float)"
_EXTERNAL = re.compile(rb"(?:\n|\x8a\x80*\0)(?:\x08|\x88\x80*\0)location")
"""How the format says in which file a tensor lies: field 1, 8 bytes, each number of any length."""


class OnnxBackend(ExportedBackend):
    """An exported ONNX file: input ``images``, outputs those of its task.

    Args:
        path: the file.
        threads: threads inside an operator; default: ONNX Runtime's choice, one a core.
        device: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        DetectorError: not a whole ONNX file, not one that was exported here, or no such device.
    """

    def __init__(self, path: str | Path, threads: int | None = None, device: str = "cpu") -> None:
        path = Path(path)
        if not path.is_file():
            raise DetectorError("no such file", file=path)
        check_seal(path)
        if _EXTERNAL.search(path.read_bytes()):
            raise DetectorError("has weights in other files, which no seal covers", file=path)
        self._session = open_session(path, path, threads, device)
        metadata = self._session.get_modelmeta().custom_metadata_map
        card = ModelMetadata.from_metadata(metadata, path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        super().__init__(path, card, _shapes(inputs), _shapes(outputs))
        if inputs[0].type != _FLOAT32:
            raise self.error(f"input is {inputs[0].type}, expected {_FLOAT32}")

    def run(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) float32 → the task's outputs."""
        try:
            outputs = self._session.run(self.output_names, {INPUT: images})
        except Exception as error:  # its exceptions have no common base of their own
            raise self.error(f"ONNX Runtime: {_reason(error, self.path)}") from error
        return tuple(outputs)


def open_session(
    model: Path | bytes, path: Path, threads: int | None = None, device: str = "cpu"
) -> Any:
    """Make an onnxruntime.InferenceSession.

    Args:
        model: a file, or the content of one.
        path: what errors call it.
        threads: as :class:`OnnxBackend`.
        device: as :class:`OnnxBackend`.

    Raises:
        DetectorError: ONNX Runtime is not installed, cannot read it, or has no such device.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(
            f"needs ONNX Runtime ({error}); run: pip install onnxruntime", file=path
        ) from error
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0
    provider = _provider(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:
        message = f"ONNX Runtime cannot read it: {_reason(error, path)}"
        raise DetectorError(message, file=path) from error
    if session.get_providers()[0] != provider[0]:  # it falls back without an error
        raise DetectorError(f"ONNX Runtime cannot use device {device!r} on this machine")
    return session


def _provider(device: str, available: list[str]) -> tuple[str, dict[str, str]]:
    """ONNX Runtime's name and options for a device."""
    kind, _, number = device.partition(":")
    if device == "cpu":
        return "CPUExecutionProvider", {}
    if kind != "cuda" or not (number or "0").isdigit():
        hint = device_hint(device)
        raise DetectorError(
            f"device {device!r}: an ONNX file runs on 'cpu', 'cuda' or 'cuda:1'{hint}"
        )
    if "CUDAExecutionProvider" not in available:
        raise DetectorError(
            f"device {device!r}: this ONNX Runtime has no CUDA; run: pip install onnxruntime-gpu"
        )
    return "CUDAExecutionProvider", {"device_id": number or "0"}


def _shapes(ports: Any) -> dict[str, Shape]:
    """Shapes of inputs or outputs by name."""
    return {
        port.name: tuple(
            size if isinstance(size, int) and size > 0 else None for size in port.shape
        )
        for port in ports
    }


def _reason(error: Exception, path: Path) -> str:
    """ONNX Runtime's message as one line, without its error number and the file's name."""
    text = str(error).split(" : ", 3)[-1]
    return one_line(text.removeprefix(f"Load model from {path} failed:"))
