"""Metrics of the server in Prometheus' text format.

They are kept in this process; with several workers, in files of a folder that all of them share,
which Prometheus' client chooses when it is imported and finds the folder's variable.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: str = CONTENT_TYPE_LATEST

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of the client that names the folder of several processes."""

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts and times of requests, images and batches; of one process, its memory, too."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "detector_requests",
            "Requests by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "detector_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "detector_batch_images",
            "Images per forward pass.",
            ["model"],
            buckets=_BATCHES,
            registry=self._registry,
        )
        self._accepted = Gauge(
            "detector_accepted_images",
            "Images accepted and not yet answered.",
            ["model"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; ``path`` is one of few."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def add_batch(self, model: str, images: int) -> None:
        """Count a batch. Thread-safe."""
        self._batches.labels(model).observe(images)

    def set_accepted(self, model: str, images: int) -> None:
        """Set the number of images that a model has accepted and not yet answered. Thread-safe."""
        self._accepted.labels(model).set(images)

    def requests_by_status(self) -> dict[str, int]:
        """Return the number of requests by status."""
        counts: dict[str, int] = {}
        for metric in self._collected().collect():
            for sample in metric.samples:
                if sample.name == "detector_requests_total":
                    status = sample.labels["status"]
                    counts[status] = counts.get(status, 0) + int(sample.value)
        return dict(sorted(counts.items()))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return bytes(generate_latest(self._collected()))

    def _collected(self) -> CollectorRegistry:
        """Return the metrics of this process, or of all workers."""
        if FOLDER_VARIABLE not in os.environ:
            return self._registry
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together
