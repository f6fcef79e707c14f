"""Differences between two models on the same resamples of the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.evaluation.intervals import ROUNDING, Floats, Interval, interval, where_measured


@dataclass(frozen=True)
class Difference:
    """Difference of a metric, second model minus first.

    Attributes:
        value: on all images; None where one of them has nothing to measure.
        interval: its interval; None where both are equal on all resamples, or seldom measured.
        higher: number of resamples on which the second model is better.
        lower: number of resamples on which the first model is better.
        resamples: number of resamples on which both have something to measure.
    """

    value: float | None
    interval: Interval | None
    higher: int
    lower: int
    resamples: int

    @classmethod
    def between(
        cls, first: float, second: float, first_values: Floats, second_values: Floats
    ) -> Difference:
        """Return the difference of two metrics, with their values on the same resamples."""
        if first < 0 or second < 0:
            return cls(None, None, 0, 0, 0)
        values = where_measured(second_values) - where_measured(first_values)
        higher, lower = int((values > ROUNDING).sum()), int((values < -ROUNDING).sum())
        value = second - first
        found = interval(values, value) if higher or lower else None
        return cls(value, found, higher, lower, int((~np.isnan(values)).sum()))

    @property
    def is_none(self) -> bool:
        """True if both models are equal on all images and on all resamples."""
        return (
            self.value is not None
            and abs(self.value) <= ROUNDING
            and not (self.higher or self.lower)
        )

    @property
    def covers_zero(self) -> bool:
        """True unless the interval lies on one side of 0."""
        return self.interval is None or self.interval[0] <= 0 <= self.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def differences(
    first: Mapping[str, float],
    second: Mapping[str, float],
    first_values: Mapping[str, Floats],
    second_values: Mapping[str, Floats],
) -> dict[str, Difference]:
    """Return the difference of each metric that was resampled, by name."""
    return {
        name: Difference.between(first[name], second[name], values, second_values[name])
        for name, values in first_values.items()
    }
