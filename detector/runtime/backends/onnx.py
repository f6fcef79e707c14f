"""The backend of ONNX files, run by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import Arrays, ModelMetadata
from detector.runtime.backends.exported import INPUT, ExportedBackend, Shape
from detector.runtime.backends.onnx_graph import Graph, read_graph
from detector.runtime.backends.onnx_sizes import check_operators, check_sizes, input_sizes
from detector.runtime.backends.operator_times import OnnxProfile, OperatorTime
from detector.runtime.backends.output_memory import OutputMemory
from detector.runtime.backends.parts import read_parts
from detector.utils.errors import DetectorError, one_line
from detector.utils.synonyms import device_hint

_SILENT = 4  # ONNX Runtime's log level "fatal": its errors come back as exceptions
_FLOAT32 = "tensor(float)"


class OnnxBackend(ExportedBackend):
    """Backend of an exported ONNX file.

    Args:
        path: the file.
        threads: threads within an operator; default: ONNX Runtime's choice, one per core.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        profiled: count the times of operators.

    Raises:
        DetectorError: not a complete ONNX file, not exported by this package, or no such device.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        device: str = "cpu",
        profiled: bool = False,
    ) -> None:
        path = Path(path)
        (content,) = read_parts(path, expected="an ONNX file")
        self._graph = read_checked_graph(content, path)
        metadata = ModelMetadata.from_properties(self._graph.properties, path)
        super().__init__(path, metadata, self._graph.inputs, self._graph.outputs)
        self.check_sizes(self.input_shape)
        self._memory = OutputMemory()
        self._profile = OnnxProfile() if profiled else None
        self._session = open_session(content, path, threads, device, self._profile)
        try:
            inputs, outputs = self._session.get_inputs(), _shapes(self._session.get_outputs())
        except UnicodeDecodeError as error:  # ONNX Runtime does not check the file's texts
            raise DetectorError("has text that is not UTF-8", file=path) from error
        self._check_outputs(outputs)  # ONNX Runtime infers sizes that the file does not declare
        if inputs[0].type != _FLOAT32:
            raise self.error(f"input is {inputs[0].type}, expected {_FLOAT32}")

    def run(self, images: NDArray[np.float32]) -> Arrays:
        """Return the outputs of the task for (b, 3, h, w) float32 input."""
        self.check_sizes(images.shape)
        try:
            return self._infer(images)
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise self.error(f"ONNX Runtime: {_reason(error)}") from error

    def _infer(self, images: NDArray[np.float32]) -> Arrays:
        memory = None if self.metadata.nms else self._memory.outputs(images.shape)
        if memory is None:
            outputs = tuple(self._session.run(self.output_names, {INPUT: images}))
            return self._memory.remember(images.shape, outputs)
        binding = self._session.io_binding()
        binding.bind_cpu_input(INPUT, images)
        for name, array in zip(self.output_names, memory, strict=True):
            address = array.ctypes.data  # an array of another shape than the output is refused
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, address)
        self._session.run_with_iobinding(binding)
        return memory

    def operator_times(self) -> list[OperatorTime]:
        """Return the times of operators of all runs so far, if profiled; can be called once."""
        assert self._profile is not None
        return self._profile.read(self._session)

    def _check_run(self, image: tuple[int, ...]) -> None:
        check_sizes(self._graph, input_sizes(self._graph, image))


def read_checked_graph(content: bytes, path: Path) -> Graph:
    """Return the graph of a file whose weights are within it, and whose operators are known.

    Args:
        content: of the file.
        path: the file, for error messages.

    Raises:
        DetectorError: not an ONNX file, or refused; the message says why.
    """
    try:
        graph = read_graph(content)
    except ValueError as error:
        raise DetectorError(str(error), file=path) from error
    try:
        check_operators(graph)
    except ValueError as error:
        raise DetectorError(f"refused, it was not run: {error}", file=path) from error
    return graph


def open_session(
    content: bytes,
    path: Path,
    threads: int | None = None,
    device: str = "cpu",
    profile: OnnxProfile | None = None,
) -> Any:
    """Return a new onnxruntime.InferenceSession.

    Args:
        content: of the file.
        path: the file, for error messages.
        threads: as :class:`OnnxBackend`.
        device: as :class:`OnnxBackend`.
        profile: what is to count the times of operators, if they are to be counted.

    Raises:
        DetectorError: ONNX Runtime is not installed, cannot read the file, or has no such device.
    """
    onnxruntime = _import_onnxruntime(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0
    if profile is not None:
        profile.enable(options)
    provider = _provider(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:
        message = f"ONNX Runtime cannot read it: {_reason(error)}"
        raise DetectorError(message, file=path) from error
    if session.get_providers()[0] != provider[0]:  # ONNX Runtime falls back to the CPU silently
        raise DetectorError(f"ONNX Runtime cannot use device {device!r} on this machine")
    return session


def _import_onnxruntime(path: Path) -> Any:
    """Import ONNX Runtime without its telemetry.

    From 1.32 on it looks a server up and writes a device id into the home folder some seconds after
    the import; ``disable_telemetry_events`` does not stop that, this variable does.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(
            f"needs ONNX Runtime ({error}); run: pip install onnxruntime", file=path
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _provider(device: str, available: list[str]) -> tuple[str, dict[str, str]]:
    """Return ONNX Runtime's provider name and options for a device."""
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
    """Return the shapes of inputs or outputs by name."""
    return {
        port.name: tuple(
            size if isinstance(size, int) and size > 0 else None for size in port.shape
        )
        for port in ports
    }


def _reason(error: Exception) -> str:
    """Return ONNX Runtime's message as one line, without error number."""
    return one_line(str(error).split(" : ", 3)[-1])
