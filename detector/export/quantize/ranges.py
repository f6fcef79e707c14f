"""Ranges of activations for 8 bits: narrower than the values, so that the steps are finer.

The rarest values at either end are clipped. Of a value that only feeds ``x · sigmoid(x)``, −20 and
−8 both give almost 0; such a range ends below where the result loses least.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 2048
"""Bins of a histogram of values."""

LEVELS = 256
"""Values of an 8-bit integer."""

CLIPPED = (1e-4, 1e-5, 0.0)
"""Shares of the values that may be clipped at either end, in the order in which they are tried.

Measured: YOLOv5n and YOLOX-nano lose 0.003 to 0.006 more AP with the second than with the first,
a RepVGG network loses 0.024 with the first and 0.006 with the second."""

SHRINKS = 0.9 ** np.arange(32)
"""Candidates for the lower end before SiLU: these fractions of the least value."""

Floats = NDArray[np.float64]


class Histogram:
    """Counts of a tensor's values between its least and its largest one.

    Args:
        low: the least value; the range includes 0, which 8 bits must represent exactly.
        high: the largest value.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts = np.zeros(BINS, np.int64)
        self.width = (self.high - self.low) / BINS

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values, none of which lies beyond the range."""
        steps = (values.ravel() - np.float32(self.low)) / np.float32(self.width or 1.0)
        indices = np.clip(steps.astype(np.int32), 0, BINS - 1)
        self.counts += np.bincount(indices, minlength=BINS)

    @property
    def centres(self) -> Floats:
        """The middle of each bin."""
        return np.asarray(self.low + (np.arange(BINS) + 0.5) * self.width, np.float64)


def clipped_range(histogram: Histogram, clipped: float) -> tuple[float, float]:
    """Return the range without the rarest values at either end; it includes 0.

    Values of one bin are kept or clipped together, kept where in doubt.

    Args:
        histogram: the values.
        clipped: share of them that may be clipped at either end.
    """
    below = np.cumsum(histogram.counts)
    allowed = clipped * below[-1]
    above = np.cumsum(histogram.counts[::-1])
    low = histogram.low + histogram.width * np.searchsorted(below, allowed, side="right")
    high = histogram.high - histogram.width * np.searchsorted(above, allowed, side="right")
    return min(float(low), 0.0), max(float(high), 0.0)


def range_before_silu(histogram: Histogram, clipped: float) -> tuple[float, float]:
    """Return the range whose rounded values change ``x · sigmoid(x)`` least, clipped above."""
    _, high = clipped_range(histogram, clipped)
    lows = histogram.low * SHRINKS
    steps = np.maximum((high - lows) / (LEVELS - 1), 1e-12)[:, None]
    zeros = np.round(-lows[:, None] / steps)
    centres = histogram.centres
    rounded = (np.clip(np.round(centres / steps) + zeros, 0, LEVELS - 1) - zeros) * steps
    losses = (silu(rounded) - silu(centres)) ** 2 @ histogram.counts
    return float(lows[losses.argmin()]), high


def silu(values: Floats) -> Floats:
    """Return x · sigmoid(x)."""
    return np.asarray(values / (1 + np.exp(-np.clip(values, -80, 80))))
