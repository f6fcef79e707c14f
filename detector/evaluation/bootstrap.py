"""Metrics with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.evaluation.evaluation_set import EvaluationSet
from detector.evaluation.intervals import (
    COVERED,
    Floats,
    Interval,
    Resampled,
    draw,
    interval,
    where_measured,
)
from detector.evaluation.run import Metrics

Intervals = dict[str, Interval | None]
"""Intervals by name; None where there is nothing to measure, or too seldom."""


@dataclass(frozen=True)
class BootstrapMetrics:
    """Metrics of a network, with intervals over resamples of the images.

    Attributes:
        metrics: the metrics on all images.
        resamples: number of resamples.
        seed: seed of the resamples.
        intervals: of metrics over all classes, by name.
        class_intervals: of the main metric of each class, by class name.
    """

    metrics: Metrics
    resamples: int
    seed: int
    intervals: Intervals
    class_intervals: Intervals

    @property
    def summary(self) -> dict[str, float]:
        """Metrics over all classes, by name."""
        return self.metrics.summary

    @property
    def per_class(self) -> dict[str, float]:
        """Main metric of each class, by class name."""
        return self.metrics.per_class

    @property
    def title(self) -> str:
        """Title of the summary."""
        return self.metrics.title

    @property
    def per_class_title(self) -> str:
        """Name of the metric in ``per_class``."""
        return self.metrics.per_class_title

    @property
    def note(self) -> str:
        """Line on what the metrics leave out, or an empty text."""
        return self.metrics.note

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        bootstrap = {
            "resamples": self.resamples,
            "seed": self.seed,
            "covered": COVERED,
            "intervals": {**self.intervals, "per_class": self.class_intervals},
        }
        return {**self.metrics.to_dict(), "bootstrap": bootstrap}


def with_intervals(metrics: Metrics, resampled: Resampled, seed: int) -> BootstrapMetrics:
    """Add intervals to metrics.

    Args:
        metrics: the metrics on all images.
        resampled: the metrics on resamples.
        seed: seed of the resamples.
    """
    return BootstrapMetrics(
        metrics,
        len(resampled.main),
        seed,
        intervals_of(metrics.summary, resampled.summary),
        intervals_of(metrics.per_class, resampled.per_class),
    )


def bootstrapped(
    metrics: Metrics, evaluation_set: EvaluationSet, resamples: int, seed: int
) -> BootstrapMetrics:
    """Add intervals to the metrics that were measured last on an evaluation set."""
    weights = draw(len(evaluation_set.dataset.samples), resamples, seed)
    return with_intervals(metrics, evaluation_set.resampled(weights), seed)


def intervals_of(metrics: Mapping[str, float], resampled: Mapping[str, Floats]) -> Intervals:
    """Return the intervals of those metrics that were resampled."""
    return {
        name: interval(where_measured(values), metrics[name]) for name, values in resampled.items()
    }
