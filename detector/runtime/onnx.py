"""ONNX files through ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import DetectorError
from detector.preprocess import Preprocess
from detector.runtime.backend import OUTPUTS, Arrays, ModelCard
from detector.settings import NmsSettings, TaskName

INPUT = "images"

_SILENT = 4  # ONNX Runtime's log level "fatal": its errors come back as exceptions
_FLOAT32 = "tensor(float)"
_ANY = 0  # a dimension that the file leaves open


class OnnxBackend:
    """An exported ONNX file: input ``images``, outputs those of its task.

    Args:
        path: the file.
        threads: threads inside an operator; default: ONNX Runtime's choice, one a core.
        device: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        DetectorError: not a whole ONNX file, not one that was exported here, or no such device.
    """

    def __init__(self, path: str | Path, threads: int | None = None, device: str = "cpu") -> None:
        self.path = Path(path)
        self._session = _open(self.path, threads, device)
        metadata = self._session.get_modelmeta().custom_metadata_map
        card = ModelCard.from_metadata(metadata, self.path)
        self.task: TaskName = card.task
        self.names: tuple[str, ...] = card.names
        self.preprocess: Preprocess = card.preprocess
        self.measuring: NmsSettings = card.measuring
        self.stride: int = card.stride
        batch, *size_hw = self._check(card)
        self.batch_size: int | None = batch or None
        self.dynamic_size: bool = _ANY in size_hw

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) float32 → the task's outputs; see :class:`Backend`."""
        try:
            outputs = self._session.run(list(OUTPUTS[self.task]), {INPUT: images})
        except Exception as error:  # its exceptions have no common base of their own
            message = f"ONNX Runtime: {_one_line(error, self.path)}"
            raise DetectorError(message, file=self.path) from error
        return tuple(np.asarray(output, np.float32) for output in outputs)

    def _check(self, card: ModelCard) -> tuple[int, int, int]:
        """Compare inputs and outputs with the card; give batch, height, width, 0 where open."""
        inputs = {node.name: _dimensions(node) for node in self._session.get_inputs()}
        outputs = {node.name: _dimensions(node) for node in self._session.get_outputs()}
        if list(inputs) != [INPUT]:
            raise self._error(f"inputs are {_list(inputs)}, expected {INPUT!r}")
        if self._session.get_inputs()[0].type != _FLOAT32:
            found = self._session.get_inputs()[0].type
            raise self._error(f"input is {found}, expected {_FLOAT32}")
        expected = OUTPUTS[card.task]
        if not expected.keys() <= outputs.keys():
            raise self._error(f"outputs are {_list(outputs)}, expected {_list(expected)}")
        if len(inputs[INPUT]) != 4 or inputs[INPUT][1] not in (_ANY, 3):
            raise self._error(f"input has shape {inputs[INPUT]}, expected (batch, 3, h, w)")
        batch, _, height, width = inputs[INPUT]
        expected_h, expected_w = card.preprocess.size_hw
        if height not in (_ANY, expected_h) or width not in (_ANY, expected_w):
            raise self._error(
                f"input is {height}×{width}, but its metadata say {expected_h}×{expected_w}"
            )
        *_, scores = (outputs[name] for name in expected)
        classes = scores[-1] if scores else _ANY
        if classes not in (_ANY, len(card.names)):
            raise self._error(f"{classes} classes, but its metadata name {len(card.names)}")
        return batch, height, width

    def _error(self, message: str) -> DetectorError:
        return DetectorError(message, file=self.path)


def _open(path: Path, threads: int | None, device: str) -> Any:
    """Make an onnxruntime.InferenceSession."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(
            f"needs ONNX Runtime ({error}); run: pip install onnxruntime", file=path
        ) from error
    if not path.is_file():
        raise DetectorError("no such file", file=path)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0
    provider = _provider(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        message = f"ONNX Runtime cannot read it: {_one_line(error, path)}"
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
        raise DetectorError(f"device {device!r}: an ONNX file runs on 'cpu', 'cuda' or 'cuda:1'")
    if "CUDAExecutionProvider" not in available:
        raise DetectorError(
            f"device {device!r}: this ONNX Runtime has no CUDA; run: pip install onnxruntime-gpu"
        )
    return "CUDAExecutionProvider", {"device_id": number or "0"}


def _dimensions(node: Any) -> tuple[int, ...]:
    """The shape of an input or output, 0 where the file leaves it open."""
    return tuple(size if isinstance(size, int) and size > 0 else _ANY for size in node.shape)


def _one_line(error: Exception, path: Path) -> str:
    """The first line of ONNX Runtime's message, without its error number and the file's name."""
    text = " ".join(str(error).split("\n", maxsplit=1)[0].split()).split(" : ", 3)[-1]
    text = text.removeprefix(f"Load model from {path} failed:").strip()
    return text if len(text) <= 200 else f"{text[:197]}..."


def _list(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
