"""All that the routes share: models by name, limits, metrics, token; made from the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from detector.predict import open_backend, parallel_batches
from detector.runtime.backends.backend import Backend
from detector.runtime.pipeline import Pipeline
from detector.serve.errors import RequestError
from detector.serve.metrics import Metrics
from detector.serve.model import Decoder, QueueSettings, ServedModel
from detector.serve.uploads import MEGA, UploadLimits, UploadMemory
from detector.settings.nms import NmsSettings
from detector.settings.serve import ServeSettings
from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.files import read_text
from detector.utils.system import available_cores

TOKEN_VARIABLE = "DETECTOR_TOKEN"

MAX_TOKEN_BYTES = 4096
"""Largest file of a token."""


@dataclass(frozen=True)
class Service:
    """Models and what is common to all requests.

    Attributes:
        models: by name; the first is used where a request names none.
        pool: threads that decode images.
        limits: of one request.
        memory: of all uploads.
        metrics: of the server.
        token: bearer token that requests must bring, None if they need none.
        allow_urls: whether requests may name an image by its URL.
    """

    models: Mapping[str, ServedModel]
    pool: ThreadPoolExecutor
    limits: UploadLimits
    memory: UploadMemory
    metrics: Metrics
    token: str | None
    allow_urls: bool = False

    def model(self, name: str | None) -> ServedModel:
        """Return a model by name, or the first one.

        Raises:
            RequestError: there is no such model; names the nearest one.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            hint = nearest(name, self.models) or f"; there are {', '.join(self.models)}"
            raise RequestError(404, f"unknown model {shown(name)}{hint}")
        return self.models[name]

    def close(self) -> None:
        """Answer all that is waiting, and end the threads."""
        for model in self.models.values():
            model.close()
        self.pool.shutdown()


def open_backends(settings: ServeSettings) -> dict[str, Backend]:
    """Open each file; return the backends by the stems of their files.

    Raises:
        DetectorError: a file cannot be read, or two have one stem.
    """
    backends: dict[str, Backend] = {}
    for path in settings.weights:
        if path.stem in backends:
            raise DetectorError(f"a second model is called {path.stem!r}; rename one", file=path)
        backends[path.stem] = open_backend(path, settings)
    return backends


def open_service(settings: ServeSettings, backends: Mapping[str, Backend]) -> Service:
    """Start the queues and threads of all models.

    Raises:
        DetectorError: settings contradict each other, or a network cannot be run.
    """
    if settings.max_images > settings.queue:
        raise DetectorError(
            f"--queue {settings.queue}: a request may have {settings.max_images} images, which "
            "would never have room"
        )
    token = read_token(settings.token_file)
    metrics = Metrics()
    pool = ThreadPoolExecutor(available_cores())
    decoder = Decoder(pool, settings.max_megapixels)
    queue = QueueSettings(settings.queue, settings.max_wait_ms / 1000)
    models = {
        name: ServedModel(
            name,
            Pipeline(backend, NmsSettings(), settings.max_batch, parallel_batches(settings)),
            queue,
            decoder,
            metrics,
            settings.nms_options(),
        )
        for name, backend in backends.items()
    }
    limits = UploadLimits(
        int(settings.max_mb * MEGA), settings.max_images, settings.request_seconds
    )
    memory = UploadMemory(int(settings.upload_mb * MEGA))
    return Service(models, pool, limits, memory, metrics, token, settings.allow_urls)


def read_token(file: Path | None) -> str | None:
    """Return the token of a file, or of the variable ``DETECTOR_TOKEN``, or None.

    Raises:
        DetectorError: both are given, or the token is empty or has other characters than a header.
    """
    variable = os.environ.get(TOKEN_VARIABLE)
    if file is None:
        return None if variable is None else _checked_token(variable, None)
    if variable is not None:
        raise DetectorError(f"--token-file: the variable {TOKEN_VARIABLE} is set, too")
    return _checked_token(read_text(file, MAX_TOKEN_BYTES, "a token"), file)


def _checked_token(text: str, file: Path | None) -> str:
    token = text.strip()
    if not token or not all("!" <= character <= "~" for character in token):
        place = "" if file else f"the variable {TOKEN_VARIABLE}: "
        raise DetectorError(
            f"{place}expected a token of visible ASCII characters without spaces", file=file
        )
    return token
