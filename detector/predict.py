"""Prediction: a weights file and a source in, detections out.

The file's suffix decides what runs it. PyTorch is imported only for files that need it, so that
an ONNX file runs where torch is not installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import DetectorError, nearest
from detector.opencv import Image
from detector.preprocess import square_size
from detector.runtime.backend import Backend
from detector.runtime.exported import ExportedBackend
from detector.runtime.nms import Nms
from detector.runtime.pipeline import Pipeline, Prediction, Result, Timing
from detector.runtime.sources import Frame, open_source
from detector.settings import NmsSettings

if TYPE_CHECKING:
    from detector.graph import Detector


class Predictor:
    """Detects objects in images, folders and videos, or classifies them: the weights decide.

    Args:
        weights: ``.safetensors``, ``.onnx``, ``.xml``, ``.pt2``, a foreign ``.pt``, or
            a built Detector.
        settings: thresholds, or a function that makes them of the class names; the defaults suit
            looking at pictures, not measuring AP.
        batch: images per forward pass; a file that fixes the number decides itself.
        device: ``auto``, ``cpu``, ``cuda``, …
        imgsz: side of the square input, where the file allows another than its own.

    Example:
        >>> for detections in Predictor("best.safetensors")("images/"):  # doctest: +SKIP
        ...     print(detections.boxes_xyxy, detections.scores)
    """

    def __init__(
        self,
        weights: str | Path | Detector,
        settings: NmsSettings | Callable[[tuple[str, ...]], NmsSettings] | None = None,
        *,
        batch: int = 1,
        device: str = "auto",
        imgsz: int | None = None,
    ) -> None:
        self.backend, nms_function = open_backend(weights, device, imgsz)
        if callable(settings):
            settings = settings(self.backend.names)
        self._pipeline = Pipeline(self.backend, settings or NmsSettings(), batch, nms_function)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the model."""
        return self.backend.names

    @property
    def timing(self) -> Timing:
        """Milliseconds by phase, of everything predicted so far."""
        return self._pipeline.timing

    def __call__(self, source: str | Path | Image) -> Iterator[Prediction]:
        """Detections, or the classification, of each image of a source, in order.

        A source may be an RGB array.
        """
        if isinstance(source, (str, Path)):
            frames: Iterable[Frame] = open_source(source)
        else:
            frames = [Frame("image", None, 0, source)]
        for result in self.frames(frames):
            yield result.prediction

    def frames(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """The same for frames, each result together with its image and name."""
        return self._pipeline(frames)


def open_backend(
    weights: str | Path | Detector, device: str = "auto", imgsz: int | None = None
) -> tuple[Backend, Nms]:
    """Pick what runs a file, by its suffix, and the suppression that goes with it.

    Raises:
        DetectorError: no such file, no such format, a size that the file does not take.
    """
    if not isinstance(weights, (str, Path)):
        return _torch_backend(weights, device, imgsz)
    path = Path(weights)
    if not path.is_file():
        raise _missing(path)
    if path.suffix in (".onnx", ".xml"):
        backend = _torch_free(path, device)
        return _resized(backend, imgsz, path), backend.nms
    if path.suffix == ".pt2":
        from detector.export.pt2 import Pt2Backend
        from detector.torch_backend import choose_device, torch_nms

        return _resized(Pt2Backend(path, choose_device(device)), imgsz, path), torch_nms
    from detector.checkpoint import load

    return _torch_backend(load(path), device, imgsz)


def _torch_free(path: Path, device: str) -> ExportedBackend:
    """ONNX Runtime's GPU build names devices that may not be there: only a flag asks for one."""
    device = "cpu" if device == "auto" else device
    if path.suffix == ".xml":
        from detector.runtime.openvino import OpenVinoBackend

        return OpenVinoBackend(path, device=device)
    from detector.runtime.onnx import OnnxBackend

    return OnnxBackend(path, device=device)


def _missing(path: Path) -> DetectorError:
    """Name what is there instead, or the nearest name beside it."""
    if path.is_dir():
        return DetectorError("is a folder, expected a weights file", file=path)
    folder = path.parent
    siblings = [entry.name for entry in islice(os.scandir(folder), 2000)] if folder.is_dir() else []
    hint = nearest(path.name, siblings) or "; expected weights"
    return DetectorError(f"no such file{hint}", file=path)


def _torch_backend(model: Detector, device: str, imgsz: int | None) -> tuple[Backend, Nms]:
    from detector.tasks import task_of
    from detector.torch_backend import TorchBackend, choose_device

    preprocess = model.preprocess
    if imgsz is not None:
        preprocess = preprocess.with_size(model.square_size(imgsz))
    return TorchBackend(model, choose_device(device), preprocess), task_of(model).postprocess


def _resized(backend: Any, imgsz: int | None, path: Path) -> Backend:
    """The same backend with another input size, if its file was exported for that."""
    if imgsz is None or backend.preprocess.size_hw == (imgsz, imgsz):
        return backend  # type: ignore[no-any-return]
    if not backend.dynamic_size:
        height, width = backend.preprocess.size_hw
        raise DetectorError(
            f"takes inputs of {height}×{width} only, found imgsz {imgsz}; export with --dynamic",
            file=path,
        )
    backend.preprocess = backend.preprocess.with_size(square_size(imgsz, backend.stride))
    return backend  # type: ignore[no-any-return]
