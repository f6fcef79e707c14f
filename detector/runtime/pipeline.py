"""Frames in, predictions out: preprocess → backend → what its task makes of it, in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from detector.classification import Classification
from detector.detections import Detections
from detector.errors import DetectorError
from detector.opencv import Image
from detector.preprocess import Placement
from detector.runtime.backend import Arrays, Backend
from detector.runtime.nms import Nms, nms
from detector.runtime.sources import Frame
from detector.settings import NmsSettings

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
        seconds: total of each phase.
    """

    images: int = 0
    seconds: dict[Phase, float] = field(default_factory=_no_time)

    @contextmanager
    def measure(self, phase: Phase) -> Iterator[None]:
        """Add the time of the block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - start

    def ms_per_image(self) -> dict[Phase, float]:
        """Milliseconds of each phase for one image; zeros before the first."""
        return {
            phase: 1000 * seconds / max(self.images, 1) for phase, seconds in self.seconds.items()
        }


class Pipeline:
    """Detects objects in a sequence of frames, or classifies the frames.

    Results come in the order of the frames and one batch at a time; no more than a batch of
    images is in memory.

    Args:
        backend: the network.
        settings: which boxes remain.
        batch: images per call; a backend whose file fixes the number decides itself.
        nms: suppression of boxes; the default is the one in numpy.

    Raises:
        DetectorError: the settings ask for a class that the model does not have.

    Attributes:
        timing: of all frames that have been through.
    """

    def __init__(
        self, backend: Backend, settings: NmsSettings, batch: int = 1, nms: Nms = nms
    ) -> None:
        last = len(backend.names) - 1
        for class_id in settings.classes or ():
            if not 0 <= class_id <= last:
                raise DetectorError(f"class {class_id}: the model has classes 0 to {last}")
        self.backend = backend
        self.settings = settings
        self.batch = backend.batch_size or batch
        self.timing = Timing()
        self._nms = nms

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """A result for each frame, lazily."""
        remaining = iter(frames)
        while True:
            with self.timing.measure("decode"):
                group = list(islice(remaining, self.batch))
            if not group:
                return
            yield from self._predict(group)

    def _predict(self, frames: list[Frame]) -> list[Result]:
        measure = self.timing.measure
        preprocess = self.backend.preprocess
        with measure("preprocess"):
            fitted = [preprocess.fit(frame.image_rgb) for frame in frames]
            images = [image for image, _ in fitted]
            if self.backend.batch_size:  # the last batch of a file that fixes the number
                images += [np.zeros_like(images[0])] * (self.batch - len(images))
            network_input = preprocess.normalize(np.stack(images))
        with measure("network"):
            outputs = self.backend(network_input)
        results = []
        with measure("nms"):
            # A padded batch has more outputs than frames.
            for index, (frame, (_, placement)) in enumerate(zip(frames, fitted, strict=True)):
                its_outputs = tuple(output[index] for output in outputs)
                results.append(Result(frame, self._finished(its_outputs, placement)))
        self.timing.images += len(frames)
        return results

    def _finished(self, outputs: Arrays, placement: Placement) -> Prediction:
        """What one image's outputs mean."""
        if self.backend.task == "classify":
            (probabilities,) = outputs
            return Classification.of(probabilities, self.backend.names)
        kept, values, class_ids = self._nms(*outputs, self.settings)
        return Detections(placement.to_image(kept), values, class_ids, self.backend.names)
