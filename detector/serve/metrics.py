"""Metrics of the server in Prometheus' text format, kept in this process only."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: str = CONTENT_TYPE_LATEST

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts and times of requests, images and batches, and the memory of this process."""

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
            registry=self._registry,
        )

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; ``path`` is one of few."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def add_batch(self, model: str, images: int) -> None:
        """Count a batch. Thread-safe."""
        self._batches.labels(model).observe(images)

    def watch_queue(self, model: str, reserved: Callable[[], float]) -> None:
        """Read the length of a model's queue whenever the metrics are asked for."""
        self._accepted.labels(model).set_function(reserved)

    def requests_by_status(self) -> dict[str, int]:
        """Return the number of requests by status."""
        counts: dict[str, int] = {}
        for metric in self._requests.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    status = sample.labels["status"]
                    counts[status] = counts.get(status, 0) + int(sample.value)
        return dict(sorted(counts.items()))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
