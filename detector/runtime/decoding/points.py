"""Decoding of anchor-free heads: one prediction for each cell."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pydantic

from detector.runtime.decoding.decoding import (
    MAX_LOG_SIDE,
    Decoding,
    Floats,
    Levels,
    ObjectnessDecoding,
    Places,
    sigmoid,
)

MAX_BINS = 1024
"""Maximum number of bins of a distance."""


class PointDecoding(Decoding):
    """Base class: predictions by row and column.

    Attributes:
        strides: of each level, pixels.
    """

    strides: Levels

    @property
    def level_count(self) -> int:
        """Number of levels."""
        return len(self.strides)

    def predictions(self, level: int, level_map: Floats) -> Floats:
        """Return a view (h, w, k)."""
        predictions: Floats = level_map.transpose(1, 2, 0)
        return predictions

    def centres(self, level: int, places: Places) -> Floats:
        """Return the centres (m, 2) of the cells at these places, pixels."""
        row, column = places
        cells_xy = np.stack((column, row), 1).astype(np.float32)
        centres: Floats = (cells_xy + np.float32(0.5)) * np.float32(self.strides[level])
        return centres


class CentreDecoding(ObjectnessDecoding, PointDecoding):
    """YOLOX: x, y, w, h, objectness, then the classes."""

    kind: Literal["centres"] = "centres"

    def channels(self, level: int, classes: int) -> int:
        """Return the number of channels of a level's map."""
        return 5 + classes

    def decode_boxes(self, level: int, raw: Floats, places: Places) -> Floats:
        """Return centre = (xy + the cell's corner) · stride, sides = exp(wh) · stride."""
        stride = np.float32(self.strides[level])
        centre = raw[:, :2] * stride + (self.centres(level, places) - stride / 2)
        half = np.exp(np.minimum(raw[:, 2:], np.float32(MAX_LOG_SIDE))) * (stride / 2)
        return np.concatenate((centre - half, centre + half), 1)


class DistanceDecoding(PointDecoding):
    """Distances to left, top, right and bottom, then the classes.

    Attributes:
        bins: logits of each distance's distribution; 0 for distances that are one number.
    """

    kind: Literal["distances"] = "distances"
    bins: Annotated[int, pydantic.Field(ge=0, le=MAX_BINS)]

    @property
    def box_values(self) -> int:
        """Number of raw values of a box."""
        return 4 * max(self.bins, 1)

    def channels(self, level: int, classes: int) -> int:
        """Return the number of channels of a level's map."""
        return self.box_values + classes

    def highest_logits(self, logits: Floats) -> Floats:
        """Return the highest logit of each prediction."""
        highest: Floats = logits.max(-1)
        return highest

    def decode_scores(self, logits: Floats) -> Floats:
        """Return the probabilities of the classes."""
        return sigmoid(logits)

    def decode_boxes(self, level: int, raw: Floats, places: Places) -> Floats:
        """Return boxes at the mean distances of their sides, in strides, from the cell's centre."""
        distances = _expected_distances(raw, self.bins) if self.bins else raw
        sides = distances * np.float32(self.strides[level])
        xy = self.centres(level, places)
        return np.concatenate((xy - sides[:, :2], xy + sides[:, 2:]), 1)


def _expected_distances(raw: Floats, bins: int) -> Floats:
    """Return Σ i · softmax(logits)ᵢ of each side: (m, 4 · bins) → (m, 4)."""
    logits = raw.reshape(-1, 4, bins)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares = powers / powers.sum(-1, keepdims=True)
    distances: Floats = (shares * np.arange(bins, dtype=np.float32)).sum(-1)
    return distances
