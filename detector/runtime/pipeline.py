"""Frames in, predictions out: preprocess → backend → what its task makes of it, in batches.

The stages overlap, since OpenCV, numpy and the networks' libraries all let go of Python's lock: one
thread decodes and preprocesses the next batch while the network runs on the present one, and
suppression, drawing and writing of the last one happen in the caller's thread.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import Arrays, Backend
from detector.runtime.sources import Frame
from detector.settings import NmsSettings
from detector.structures.classification import Classification
from detector.structures.detections import Detections
from detector.structures.preprocess import Placement
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image

Prediction = Detections | Classification
"""What the task of a network finds in an image."""

Phase = Literal["decode", "preprocess", "network", "nms"]


@dataclass(frozen=True)
class Result:
    """One image and what was found in it, in its own pixels."""

    frame: Frame
    prediction: Prediction

    @property
    def detections(self) -> Detections:
        """What a detector found."""
        if not isinstance(self.prediction, Detections):
            raise DetectorError("the network classifies: it finds no boxes")
        return self.prediction

    @property
    def name(self) -> str:
        """What the results are called."""
        return self.frame.name

    @property
    def path(self) -> Path | None:
        """The image or video file, where there is one."""
        return self.frame.path

    @property
    def image_rgb(self) -> Image:
        """(h, w, 3) uint8."""
        return self.frame.image_rgb


def _no_time() -> dict[Phase, float]:
    return {"decode": 0.0, "preprocess": 0.0, "network": 0.0, "nms": 0.0}


@dataclass
class Timing:
    """Where the time went.

    Attributes:
        images: how many have been through.
        seconds: total of each phase. Phases overlap, so that their sum may exceed ``wall_seconds``.
        wall_seconds: from the first image asked for to the last, with what the caller did between.
    """

    images: int = 0
    seconds: dict[Phase, float] = field(default_factory=_no_time)
    wall_seconds: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @contextmanager
    def measure(self, phase: Phase) -> Iterator[None]:
        """Add the time of the block to a phase; several threads may do so at once."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[phase] += time.perf_counter() - start

    @contextmanager
    def measure_wall(self) -> Iterator[None]:
        """Add the time of the block to the whole."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.wall_seconds += time.perf_counter() - start

    def ms_per_image(self) -> dict[Phase, float]:
        """Milliseconds of each phase for one image; zeros before the first."""
        return {
            phase: 1000 * seconds / max(self.images, 1) for phase, seconds in self.seconds.items()
        }

    def wall_ms_per_image(self) -> float:
        """Milliseconds from one image to the next; zero before the first."""
        return 1000 * self.wall_seconds / max(self.images, 1)


class Pipeline:
    """Detects objects in a sequence of frames, or classifies the frames.

    Results come in the order of the frames. ``parallel + 2`` batches of images are in memory at
    most: one that is read, one in each thread of the network, one whose results are handed out.

    Args:
        backend: the network.
        settings: which boxes remain.
        batch: images per call; a backend whose file fixes the number decides itself.
        parallel: batches that the network works on at the same time.

    Raises:
        DetectorError: the settings ask for a class that the model does not have.

    Attributes:
        timing: of all frames that have been through.
    """

    def __init__(
        self,
        backend: Backend,
        settings: NmsSettings,
        batch: int = 1,
        parallel: int = 1,
    ) -> None:
        last = len(backend.names) - 1
        for class_id in settings.classes or ():
            if not 0 <= class_id <= last:
                raise DetectorError(f"class {class_id}: the model has classes 0 to {last}")
        self.backend = backend
        self.settings = settings
        self.batch = backend.batch_size or batch
        self.parallel = parallel
        self.timing = Timing()
        self._spare: list[_InputMemory] = []

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """A result for each frame, lazily. Closing the iterator ends its threads."""
        groups = self._groups(frames)
        # The reader is ended first: a runner that waits for it then stops waiting.
        with self.timing.measure_wall(), _threads(self.parallel) as runner, _threads(1) as reader:

            def start() -> Future[_Batch | None]:
                return runner.submit(self._run, reader.submit(self._read, groups))

            ahead = deque(start() for _ in range(self.parallel + 1))
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(start())
                yield from self._finish(batch)

    def _groups(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Frames in a row whose inputs have one size, at most a batch of them."""

        def input_size(frame: Frame) -> tuple[int, int]:
            height, width = frame.image_rgb.shape[:2]
            return self.backend.preprocess.input_size((height, width))

        for _, alike in groupby(frames, input_size):
            while group := list(islice(alike, self.batch)):
                yield group

    def _read(self, groups: Iterator[list[Frame]]) -> _Batch | None:
        """Decode and preprocess the next batch; None after the last one."""
        with self.timing.measure("decode"):
            frames = next(groups, None)
        if frames is None:
            return None
        preprocess = self.backend.preprocess
        with self.timing.measure("preprocess"):
            images, placements = zip(
                *(preprocess.fit(frame.image_rgb) for frame in frames), strict=True
            )
            memory = self._spare.pop() if self._spare else _InputMemory()
            count = self.backend.batch_size or len(frames)
            network_input = memory.array((count, 3, *images[0].shape[:2]))
            preprocess.normalize(images, out=network_input[: len(frames)])
            network_input[len(frames) :] = 0  # the last batch of a file that fixes the number
        return _Batch(frames, placements, network_input, memory)

    def _run(self, ready: Future[_Batch | None]) -> _Batch | None:
        """Wait for a batch and give it to the network."""
        batch = ready.result()
        if batch is not None:
            with self.timing.measure("network"):
                batch.outputs = self.backend(batch.network_input)
            self._spare.append(batch.memory)
        return batch

    def _finish(self, batch: _Batch) -> list[Result]:
        """What the outputs of a batch mean; a batch that was filled up has more of them."""
        with self.timing.measure("nms"):
            results = [
                Result(frame, self._prediction(tuple(output[i] for output in batch.outputs), place))
                for i, (frame, place) in enumerate(zip(batch.frames, batch.placements, strict=True))
            ]
        self.timing.images += len(results)
        return results

    def _prediction(self, outputs: Arrays, placement: Placement) -> Prediction:
        if self.backend.task == "classify":
            (probabilities,) = outputs
            return Classification.of(probabilities, self.backend.names)
        kept, values, class_ids = self.backend.postprocess(outputs, self.settings)
        return Detections(placement.to_image(kept), values, class_ids, self.backend.names)


class _InputMemory:
    """Memory of a network's input: asking the system for it anew costs more than filling it."""

    def __init__(self) -> None:
        self._flat = np.empty(0, np.float32)

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array of that shape; the one that was given before is overwritten."""
        size = math.prod(shape)
        if self._flat.size < size:
            self._flat = np.empty(size, np.float32)
        return self._flat[:size].reshape(shape)


@dataclass
class _Batch:
    """Frames on their way, with the input that they became, and then the network's outputs."""

    frames: list[Frame]
    placements: Sequence[Placement]
    network_input: NDArray[np.float32]
    memory: _InputMemory
    outputs: Arrays = ()


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end with the block; what they have not begun is dropped."""
    executor = ThreadPoolExecutor(count)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
