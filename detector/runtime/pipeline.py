"""Prediction pipeline: frames → preprocess → backend → post-processing → results, in batches.

With tiles, a frame goes through the network in parts, each an image of a batch; see
:mod:`detector.runtime.tiling`. So do the views of test-time augmentation
(:mod:`detector.runtime.views`).

The stages overlap, since OpenCV, numpy and the inference libraries release Python's GIL: one thread
decodes and preprocesses the next batch while the network runs on the current one, and NMS, drawing
and writing of the previous one happen in the caller's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import Arrays, Backend
from detector.runtime.reused_memory import ReusedMemory
from detector.runtime.sources import Frame, Source
from detector.runtime.tiling import Part, PartMerger, check_tiles, parts_of
from detector.runtime.views import views_of
from detector.settings.common import TileSettings
from detector.settings.nms import NmsSettings
from detector.structures.classification import Classification
from detector.structures.detections import Detections
from detector.structures.preprocess import Placement, Preprocess
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image

Prediction = Detections | Classification
"""Prediction for one image: boxes, or the probabilities of the classes."""

Phase = Literal["decode", "preprocess", "network", "nms"]


@dataclass(frozen=True)
class Result:
    """One image and its prediction; boxes are in pixels of the image."""

    frame: Frame
    prediction: Prediction

    @property
    def detections(self) -> Detections:
        """The prediction of a detector; DetectorError if the network is a classifier."""
        if not isinstance(self.prediction, Detections):
            raise DetectorError("the network classifies: it finds no boxes")
        return self.prediction

    @property
    def name(self) -> str:
        """Name of its results, which is the file's stem, or one for the camera or stream."""
        return self.frame.name

    @property
    def path(self) -> Path | None:
        """Path of the image or video file, None for other sources."""
        return self.frame.path

    @property
    def image_rgb(self) -> Image:
        """Image, (h, w, 3) uint8."""
        return self.frame.image_rgb

    def draw(self) -> Image:
        """Return a copy of the image with the prediction drawn, (h, w, 3) uint8."""
        return self.prediction.draw(self.image_rgb)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values of the prediction."""
        return self.prediction.to_dict()


@dataclass(frozen=True)
class FittedImage:
    """One image as the network takes it, before normalization.

    Attributes:
        image_rgb: (h, w, 3) uint8, of the input's size.
        placement: where the original lies in it.
    """

    image_rgb: Image
    placement: Placement


def _no_time() -> dict[Phase, float]:
    return {"decode": 0.0, "preprocess": 0.0, "network": 0.0, "nms": 0.0}


@dataclass
class Timing:
    """Time spent in each phase.

    Attributes:
        images: number of images processed.
        seconds: total of each phase. Phases overlap, so that their sum may exceed ``wall_seconds``.
        wall_seconds: from the request for the first image to the end of the last, including the
            caller's own work in between.
        inputs: number of images that the network got for them: more, where they are cut into tiles.
    """

    images: int = 0
    seconds: dict[Phase, float] = field(default_factory=_no_time)
    wall_seconds: float = 0.0
    inputs: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @contextmanager
    def measure(self, phase: Phase) -> Iterator[None]:
        """Add the duration of the block to a phase. Thread-safe."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[phase] += time.perf_counter() - start

    @contextmanager
    def measure_wall(self) -> Iterator[None]:
        """Add the duration of the block to ``wall_seconds``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.wall_seconds += time.perf_counter() - start

    def ms_per_image(self) -> dict[Phase, float]:
        """Return the mean milliseconds per image of each phase; zeros before the first image."""
        return {
            phase: 1000 * seconds / max(self.images, 1) for phase, seconds in self.seconds.items()
        }

    def wall_ms_per_image(self) -> float:
        """Return the mean wall-clock milliseconds per image; zero before the first image."""
        return 1000 * self.wall_seconds / max(self.images, 1)


class Pipeline:
    """Pipeline that detects objects in a sequence of frames, or classifies the frames.

    Results come in the order of the frames. At most ``parallel + 2`` batches of images or tiles are
    in memory: one being read, one in each network thread, one whose results are being yielded.

    Args:
        backend: the network.
        settings: NMS thresholds and limits.
        batch: images, or tiles, per call; ignored if the backend's file fixes the number.
        parallel: number of batches that the network processes at the same time.
        tiling: tiles that the frames are cut into, or views of them; default: none.

    Raises:
        DetectorError: the settings ask for a class that the model does not have, or for tiles or
            views on which it cannot run.

    Attributes:
        timing: of all frames processed so far.
    """

    def __init__(
        self,
        backend: Backend,
        settings: NmsSettings,
        batch: int = 1,
        parallel: int = 1,
        tiling: TileSettings | None = None,
    ) -> None:
        last = len(backend.names) - 1
        for class_id in settings.classes or ():
            if not 0 <= class_id <= last:
                raise DetectorError(f"class {class_id}: the model has classes 0 to {last}")
        self.tiling = tiling or TileSettings()
        if self.tiling.tiles is not None:
            check_tiles(backend, self.tiling.tiles)
        self.views = views_of(self.tiling, backend)
        self.backend = backend
        self.settings = settings
        self.batch = backend.batch_size or batch
        self.parallel = parallel
        self.timing = Timing()
        self._memory = ReusedMemory()

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Yield a result for each frame, lazily. Closing the iterator ends its threads."""
        groups = self._groups(
            part for frame in frames for part in parts_of(frame, self.tiling, self.views)
        )
        merger = PartMerger(self.backend.names, self.settings)
        # The source is stopped first, then the reader: neither the reader, which may wait for a
        # camera's next frame, nor a runner that waits for the reader blocks.
        with (
            self.timing.measure_wall(),
            _threads(self.parallel) as runner,
            _threads(1) as reader,
            _stopped_at_end(frames),
        ):

            def start() -> Future[_PendingBatch | None]:
                return runner.submit(self._run, reader.submit(self._read, groups))

            ahead = deque(start() for _ in range(self.parallel + 1))
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(start())
                yield from self._finish(batch, merger)

    def with_settings(self, settings: NmsSettings) -> Pipeline:
        """Return a pipeline of the same network with other NMS settings; both have one timing."""
        other = Pipeline(self.backend, settings, self.batch, self.parallel, self.tiling)
        other.timing = self.timing
        return other

    def _groups(self, parts: Iterable[Part]) -> Iterator[list[Part]]:
        """Yield groups of consecutive parts with the same input size, at most a batch each."""

        def input_size(part: Part) -> tuple[int, int]:
            return self._preprocess_of(part).input_size(part.size_hw)

        for _, alike in groupby(parts, input_size):
            while group := list(islice(alike, self.batch)):
                yield group

    def _preprocess_of(self, part: Part) -> Preprocess:
        return self.backend.preprocess if part.view is None else part.view.preprocess

    def fit(self, image_rgb: Image) -> FittedImage:
        """Resize and pad one image for the network. Thread-safe."""
        with self.timing.measure("preprocess"):
            return FittedImage(*self.backend.preprocess.fit(image_rgb))

    def predict_fitted(
        self, images: Sequence[FittedImage], settings: Sequence[NmsSettings]
    ) -> list[Prediction]:
        """Predict for images of one size, at most a batch, in the calling thread. Thread-safe.

        Args:
            images: results of :meth:`fit`.
            settings: of each image, in place of the pipeline's own.
        """
        with self.timing.measure("preprocess"):
            network_input = self._network_input([image.image_rgb for image in images])
        with self.timing.measure("network"):
            outputs = self.backend(network_input)
        with self.timing.measure("nms"):
            return [
                self._prediction(tuple(output[i] for output in outputs), image.placement, each)
                for i, (image, each) in enumerate(zip(images, settings, strict=True))
            ]

    def _read(self, groups: Iterator[list[Part]]) -> _PendingBatch | None:
        """Decode and preprocess the next batch; None after the last one."""
        with self.timing.measure("decode"):
            parts = next(groups, None)
        if parts is None:
            return None
        with self.timing.measure("preprocess"):
            images, placements = zip(
                *(self._preprocess_of(part).fit(part.image_rgb) for part in parts), strict=True
            )
            network_input = self._network_input(images)
        return _PendingBatch(parts, placements, network_input)

    def _network_input(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return images of one size as (b, 3, h, w); zeros fill up the batch that a file fixes."""
        count = self.backend.batch_size or len(images)
        network_input = self._memory.array((count, 3, *images[0].shape[:2]))
        self.backend.preprocess.normalize(images, out=network_input[: len(images)])
        network_input[len(images) :] = 0
        return network_input

    def _run(self, ready: Future[_PendingBatch | None]) -> _PendingBatch | None:
        """Wait for a batch and run the network on it."""
        batch = ready.result()
        if batch is not None:
            with self.timing.measure("network"):
                batch.outputs = self.backend(batch.network_input)
        return batch

    def _finish(self, batch: _PendingBatch, merger: PartMerger) -> list[Result]:
        """Post-process a batch, ignoring padding images; return the results of complete frames."""
        results: list[Result] = []
        with self.timing.measure("nms"):
            for part, place, outputs in batch.images():
                prediction: Prediction | None
                if part.count == 1:
                    prediction = self._prediction(outputs, place, self.settings)
                else:
                    candidates = self.backend.candidates(outputs, self.settings)
                    prediction = merger.add(part, place, candidates)
                if prediction is not None:
                    results.append(Result(part.frame, prediction))
        self.timing.images += len(results)
        self.timing.inputs += len(batch.parts)
        return results

    def _prediction(
        self, outputs: Arrays, placement: Placement, settings: NmsSettings
    ) -> Prediction:
        if self.backend.task == "classify":
            (probabilities,) = outputs
            return Classification.of(probabilities, self.backend.names)
        kept, values, class_ids = self.backend.postprocess(outputs, settings)
        boxes_xyxy = placement.to_image(kept, settings.clip_boxes)
        return Detections(boxes_xyxy, values, class_ids, self.backend.names)


@dataclass
class _PendingBatch:
    """A batch in the pipeline: frames or their parts, network input and, later, raw outputs."""

    parts: list[Part]
    placements: Sequence[Placement]
    network_input: NDArray[np.float32]
    outputs: Arrays = ()

    def images(self) -> Iterator[tuple[Part, Placement, Arrays]]:
        """Yield each part with its placement and its own outputs."""
        for i, (part, placement) in enumerate(zip(self.parts, self.placements, strict=True)):
            yield part, placement, tuple(output[i] for output in self.outputs)


@contextmanager
def _stopped_at_end(frames: Iterable[Frame]) -> Iterator[None]:
    """Stop a source at the end of the block."""
    try:
        yield
    finally:
        if isinstance(frames, Source):
            frames.stop()


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool; at the end of the block, cancel what has not started and join."""
    executor = ThreadPoolExecutor(count)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
