"""One model that is served: decoding, the queue in front of its network, and its description."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from detector.predict import nms_settings
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.pipeline import FittedImage, Pipeline, Prediction
from detector.serve.errors import RequestError
from detector.serve.metrics import Metrics
from detector.serve.queue import BatchQueue
from detector.serve.uploads import Upload
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image, encode_image


@dataclass(frozen=True)
class Answer:
    """The prediction for one image of a request.

    Attributes:
        name: name of the image.
        size_hw: its height and width, pixels.
        prediction: boxes in pixels of the image, or a classifier's classes.
    """

    name: str
    size_hw: tuple[int, int]
    prediction: Prediction

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as ``detect --jsonl`` writes it."""
        return {
            "name": self.name,
            "size_hw": list(self.size_hw),
            **self.prediction.to_dict(),
        }


@dataclass(frozen=True)
class _Item:
    """An image in the queue with the settings of its request."""

    fitted: FittedImage
    nms: NmsSettings


@dataclass(frozen=True)
class Decoder:
    """Threads that decode images; as many images are decoded at the same time.

    Attributes:
        pool: the threads.
        max_megapixels: largest image.
    """

    pool: ThreadPoolExecutor
    max_megapixels: float

    def decode(self, upload: Upload) -> Image:
        """Return an image, (h, w, 3) uint8 RGB; called in the pool's threads.

        Raises:
            RequestError: it cannot be decoded.
        """
        try:
            return upload.decode(self.max_megapixels)
        except DetectorError as error:
            raise RequestError(422, str(error)) from error


@dataclass(frozen=True)
class QueueSettings:
    """Settings of the queue of one model.

    Attributes:
        places: images accepted and not yet answered.
        max_wait: seconds that an image waits for others.
    """

    places: int
    max_wait: float


class ServedModel:
    """A model that answers requests.

    Images are decoded and resized by the threads of a pool; only the network's input waits in the
    queue, so that large images take memory only while they are decoded.

    Args:
        name: name in requests.
        pipeline: the network, with its batch size and number of parallel batches.
        queue: settings of its queue.
        decoder: threads that decode, shared by all models.
        metrics: of the server.
        defaults: NMS options of requests that do not name them.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        queue: QueueSettings,
        decoder: Decoder,
        metrics: Metrics,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.pipeline = pipeline
        self._decoder = decoder
        self._metrics = metrics
        self._defaults = defaults or {}
        self._warm_up()
        self.queue: BatchQueue[_Item, Prediction] = BatchQueue(
            self._run,
            lambda item: item.fitted.image_rgb.shape,
            places=queue.places,
            max_batch=pipeline.batch,
            max_wait=queue.max_wait,
            threads=pipeline.parallel,
            on_change=partial(metrics.set_accepted, name),
        )

    def nms(self, options: dict[str, Any]) -> NmsSettings:
        """Return the NMS settings of a request that names some options.

        Raises:
            DetectorError: an option has no effect on this network, or names an unknown class.
        """
        return nms_settings(None, {**self._defaults, **options}, self.pipeline.backend)

    async def predict(self, uploads: Sequence[Upload], nms: NmsSettings) -> list[Answer]:
        """Predict for the images of a request, in order.

        Raises:
            RequestError: the queue is full, or an image cannot be decoded.
        """
        with self.queue.reserve(len(uploads)):
            done = await asyncio.gather(
                *(self._predict_one(upload, nms) for upload in uploads), return_exceptions=True
            )
        for answer in done:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in done if isinstance(answer, Answer)]

    async def draw(self, upload: Upload, answer: Answer) -> bytes:
        """Return the image with its boxes drawn, as PNG."""
        return await asyncio.get_running_loop().run_in_executor(
            self._decoder.pool, self._drawn, upload, answer
        )

    def describe(self) -> dict[str, Any]:
        """Return names, preprocessing, precision and certificate of the model."""
        backend = self.pipeline.backend
        found: dict[str, Any] = {
            "model": self.name,
            "task": backend.task,
            "names": list(backend.names),
            "preprocess": backend.preprocess.model_dump(mode="json"),
            "max_batch": self.pipeline.batch,
        }
        if isinstance(backend, ExportedBackend):
            metadata = backend.metadata.model_dump(mode="json")
            found |= {name: metadata[name] for name in ("precision", "certificate", "nms")}
            found["arithmetic"] = backend.arithmetic
        return found

    def close(self) -> None:
        """Answer all that is waiting, and end the queue's threads."""
        self.queue.close()

    async def _predict_one(self, upload: Upload, nms: NmsSettings) -> Answer:
        loop = asyncio.get_running_loop()
        size_hw, fitted = await loop.run_in_executor(self._decoder.pool, self._fit, upload)
        prediction = await asyncio.wrap_future(self.queue.submit(_Item(fitted, nms)))
        return Answer(upload.name, size_hw, prediction)

    def _fit(self, upload: Upload) -> tuple[tuple[int, int], FittedImage]:
        image_rgb = self._decoder.decode(upload)
        height, width = image_rgb.shape[:2]
        return (height, width), self.pipeline.fit(image_rgb)

    def _drawn(self, upload: Upload, answer: Answer) -> bytes:
        image_rgb = self._decoder.decode(upload)
        return encode_image(answer.prediction.draw(image_rgb), ".png")

    def _run(self, items: Sequence[_Item]) -> list[Prediction]:
        self._metrics.add_batch(self.name, len(items))
        return self.pipeline.predict_fitted(
            [item.fitted for item in items], [item.nms for item in items]
        )

    def _warm_up(self) -> None:
        """Run the network once, so that a file that cannot run is an error at the start."""
        height, width = self.pipeline.backend.preprocess.size_hw
        grey = self.pipeline.fit(np.full((height, width, 3), 114, np.uint8))
        self.pipeline.predict_fitted([grey], [self.nms({})])
