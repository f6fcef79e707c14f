"""Metrics of two forms of a network on the same images, with paired intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.intervals import interval, where_measured
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.certificate import Intervals, Measured
from detector.settings.nms import NmsSettings
from detector.settings.values import MAX_DROP


@dataclass(frozen=True)
class Metrics:
    """Metrics of one form of a network.

    Attributes:
        by_name: the main one first.
        resampled: the main one on each of a number of resamples of the images; −1 where there is
            nothing to measure; empty if it has no intervals.
    """

    by_name: dict[str, float]
    resampled: NDArray[np.float64]


@dataclass(frozen=True)
class EvaluationImages:
    """Evaluation set that AP, or accuracy, is measured on.

    Attributes:
        data: name of the data set.
        split: name of the split.
        images: number of images.
        measure: function from a backend and NMS settings to metrics by name, the main one first.
        resampled: function that returns the main metric of the backend measured last on each of a
            number of resamples of the images, the same ones for each backend.
        max_drop: largest drop of the main metric of files that it alone judges.
    """

    data: str
    split: str
    images: int
    measure: Callable[[Backend, NmsSettings], dict[str, float]]
    resampled: Callable[[], NDArray[np.float64]] = lambda: np.zeros(0)
    max_drop: float = MAX_DROP

    def metrics(self, backend: Backend, settings: NmsSettings, intervals: bool = True) -> Metrics:
        """Measure a backend, on resamples too if there are to be intervals."""
        found = self.measure(backend, settings)
        return Metrics(found, self.resampled() if intervals else np.zeros(0))

    def compared(self, before: Metrics, after: Metrics) -> Measured:
        """Return the metrics of a network and of its file for the certificate."""
        return Measured(
            data=self.data,
            split=self.split,
            images=self.images,
            before=before.by_name,
            after=after.by_name,
            intervals=_intervals(before, after),
        )


def _intervals(before: Metrics, after: Metrics) -> Intervals | None:
    """Return the intervals of the main metric and of its change; None if one of them has none."""
    first, second = (next(iter(one.by_name.values())) for one in (before, after))
    was, now = where_measured(before.resampled), where_measured(after.resampled)
    of_before, of_after = interval(was, first), interval(now, second)
    change = interval(now - was, second - first)
    if of_before is None or of_after is None or change is None:
        return None
    return Intervals(before=of_before, after=of_after, change=change)


def change_text(measured: Measured) -> str:
    """Return the values of the main metric, and their difference if it has an interval, as text."""
    _, before, after = measured.main
    text = f"{before:.4f} → {after:.4f}"
    if measured.intervals is None:
        return text
    low, high = measured.intervals.change
    return f"{text}, a change of {after - before:+.4f} ({low:+.4f} to {high:+.4f})"
