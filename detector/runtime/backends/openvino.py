"""The backend of OpenVINO files (``.xml`` and, beside it, ``.bin``)."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import METADATA_KEY, Arrays, ModelMetadata
from detector.runtime.backends.exported import INPUT, ExportedBackend, Shape
from detector.runtime.backends.memory import limited_memory
from detector.runtime.backends.openvino_graph import check_layers, check_sizes
from detector.runtime.backends.operator_times import OperatorTime, of_openvino
from detector.runtime.backends.output_memory import OutputMemory
from detector.runtime.backends.parts import read_parts
from detector.settings.values import FloatPrecision, RunPrecision
from detector.utils.errors import DetectorError, one_line

HINTS: dict[FloatPrecision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""OpenVINO's names of precisions."""

MAX_XML_BYTES = 1 << 28
"""Maximum size of an ``.xml`` file; its weights are beside it."""

READING_BYTES = 1 << 29
"""Memory that OpenVINO may take while it reads a file, beyond a multiple of the file's size. It
evaluates operators on constants then, whose sizes a file may understate."""

_TOO_LARGE = (
    "refused, it was not run: OpenVINO needs more memory to work out its sizes than for a network, "
    f"{READING_BYTES // 2**20} MiB and a multiple of its size"
)


class OpenVinoBackend(ExportedBackend):
    """Backend of an exported OpenVINO file.

    Args:
        path: the ``.xml`` file.
        threads: compute threads of the CPU; default: OpenVINO's choice.
        device: ``cpu``, or another of OpenVINO's devices: ``gpu``, ``gpu.1``, ``npu``.
        streams: number of calls that may run in parallel; they share the compute threads.
        precision: of the arithmetic; auto: that which the file is certified for, if the device
            has it, else fp32.
        profiled: count the times of operators.

    Raises:
        DetectorError: not a complete pair of files, not exported by this package, or no such
            device or precision.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        device: str = "cpu",
        streams: int = 1,
        precision: RunPrecision = "auto",
        profiled: bool = False,
    ) -> None:
        path = Path(path)
        openvino = import_openvino()
        core = openvino_core(openvino)
        model = _read(core, path)
        metadata = _metadata(model, path)
        self._model = model
        self._tensor = openvino.Tensor
        self._memory = OutputMemory()
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._streams = 0  # requests that exist; none while the file is opened
        self._checking = Lock()
        super().__init__(path, metadata, _shapes(model.inputs), _shapes(model.outputs))
        self.check_sizes(self.input_shape)
        found = model.input(INPUT).get_element_type().get_type_name()
        if found != "f32":
            raise self.error(f"input is {found}, expected f32")
        name = _device_name(core, device)
        self.arithmetic = _arithmetic(core, name, precision, metadata.arithmetic)
        options: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": HINTS[self.arithmetic],
            "PERF_COUNT": profiled,
        }
        if threads is not None and device == "cpu":
            options["INFERENCE_NUM_THREADS"] = threads
        self._compiled = _compiled(core, model, name, options)
        for _ in range(streams):
            self._requests.put(self._compiled.create_infer_request())
        self._streams = streams

    def run(self, images: NDArray[np.float32]) -> Arrays:
        """Return the outputs of the task for (b, 3, h, w) float32 input."""
        self.check_sizes(images.shape)
        request = self._requests.get()
        try:
            return self._infer(request, images)
        except RuntimeError as error:
            raise self.error(f"OpenVINO: {reason_of(error)}") from error
        finally:
            self._requests.put(request)

    def _infer(self, request: Any, images: NDArray[np.float32]) -> Arrays:
        if self.metadata.nms is not None:  # other images, other shapes
            return self._named(request.infer({INPUT: images}, share_inputs=True))
        memory = self._memory.outputs(images.shape)
        if (
            memory is None
        ):  # a request of its own, since the others fill memory that they were given
            own = self._compiled.create_infer_request()
            return self._memory.remember(
                images.shape, self._named(own.infer({INPUT: images}, share_inputs=True))
            )
        for name, array in zip(self.output_names, memory, strict=True):
            request.set_tensor(name, self._tensor(array, shared_memory=True))
        found = self._named(request.infer({INPUT: images}, share_inputs=True, share_outputs=True))
        if [one.shape for one in found] != [one.shape for one in memory]:
            raise self.error(f"its outputs had other shapes on other input of {images.shape}")
        return memory

    def _named(self, outputs: Any) -> Arrays:
        return tuple(outputs[name] for name in self.output_names)

    @contextmanager
    def _no_run(self) -> Iterator[None]:
        """Wait until no network runs, and let none start: a run may take more than the limit."""
        with self._checking:
            held = [self._requests.get() for _ in range(self._streams)]
            try:
                yield
            finally:
                for request in held:
                    self._requests.put(request)

    def operator_times(self) -> list[OperatorTime]:
        """Return the times of operators of the last run on one of the streams, if profiled."""
        request = self._requests.get()
        try:
            return of_openvino(request)
        finally:
            self._requests.put(request)

    def _check_run(self, image: tuple[int, ...]) -> None:
        try:
            with self._no_run(), limited_memory(READING_BYTES):
                check_sizes(self._model, image)
        except (RuntimeError, MemoryError) as error:
            if _lacks_memory(error):
                raise self.error(_TOO_LARGE) from error
            raise self.error(f"OpenVINO: {reason_of(error)}") from error


@functools.cache
def openvino_core(openvino: Any) -> Any:
    """Return the process's only core, which is never freed.

    On CPUs with AMX, OpenVINO's plugin installs a signal stack for the thread that loads it. It
    frees the stack with the last core and network, but uninstalls it only if that happens in the
    same thread. Otherwise the next handled signal, such as Ctrl-C, kills the process (2026.4).
    """
    return openvino.Core()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report each import to a server.

    OpenVINO works without telemetry if the package ``openvino_telemetry`` cannot be imported. The
    alternatives are a file in the home folder and the environment variable ``CI``.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise DetectorError(f"needs OpenVINO ({error}); run: pip install openvino") from error
    return openvino


def weights_of(path: Path) -> Path:
    """Return the path of the file that holds an ``.xml`` file's weights."""
    return path.with_suffix(".bin")


def _read(core: Any, path: Path) -> Any:
    """Read a sealed pair of files; OpenVINO would try every format it knows on any other file."""
    weights = weights_of(path)
    graph, values = read_parts(
        path, weights, expected="an OpenVINO file", limit_bytes=MAX_XML_BYTES
    )
    try:
        check_layers(graph)
    except ValueError as error:
        raise DetectorError(f"refused, it was not run: {error}", file=path) from error
    try:
        with limited_memory(READING_BYTES + 16 * len(graph) + 2 * len(values)):
            return core.read_model(graph, values)
    except (RuntimeError, MemoryError) as error:
        if _lacks_memory(error):
            raise DetectorError(_TOO_LARGE, file=path) from error
        message = f"OpenVINO cannot read it: {reason_of(error)}"
        raise DetectorError(message, file=path) from error


def _lacks_memory(error: Exception) -> bool:
    """Return True for C++'s error of a failed allocation, which OpenVINO passes on as text."""
    return isinstance(error, MemoryError) or "bad_alloc" in str(error)


def _metadata(model: Any, path: Path) -> ModelMetadata:
    key = METADATA_KEY
    text = model.get_rt_info(key).value if model.has_rt_info(key) else None
    return ModelMetadata.from_properties({key: text} if isinstance(text, str) else {}, path)


def _device_name(core: Any, device: str) -> str:
    """Return OpenVINO's name of a device, or raise DetectorError if there is none."""
    known = [name.lower() for name in core.available_devices]
    if device.partition(".")[0] not in {name.partition(".")[0] for name in known}:
        raise DetectorError(f"device {device!r}: OpenVINO has {', '.join(known)} here")
    return device.upper()


def _arithmetic(
    core: Any, device: str, asked: RunPrecision, certified: FloatPrecision
) -> FloatPrecision:
    """Return the precision of the arithmetic.

    Raises:
        DetectorError: the device does not have the one that is asked for.
    """
    found = arithmetics(core, device)
    if asked == "auto":
        return certified if certified in found else "fp32"
    if asked not in found:
        raise DetectorError(
            f"--precision {asked}: OpenVINO's device {device} has {', '.join(found)} here"
        )
    return asked


def arithmetics(core: Any, device: str) -> list[FloatPrecision]:
    """Return the precisions in which one of OpenVINO's devices computes."""
    able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    return [name for name in HINTS if name.upper() in able or name == "fp32"]


def _compiled(core: Any, model: Any, device: str, options: dict[str, Any]) -> Any:
    try:
        return core.compile_model(model, device, options)
    except RuntimeError as error:
        raise DetectorError(f"OpenVINO on device {device!r}: {reason_of(error)}") from error


def _shapes(ports: Any) -> dict[str, Shape]:
    """Return the shapes of inputs or outputs by name."""
    shapes: dict[str, Shape] = {}
    for port in ports:
        shape = port.get_partial_shape()
        sizes = () if shape.rank.is_dynamic else tuple(shape)
        name = min(port.get_names(), default="")
        shapes[name] = tuple(None if size.is_dynamic else size.get_length() for size in sizes)
    return shapes


def reason_of(error: Exception) -> str:
    """Return the last line of OpenVINO's message; earlier lines point into its source code."""
    return one_line(str(error).strip().rpartition("\n")[-1] or error)
