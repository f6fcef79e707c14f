"""Decoding of YOLOv5's anchor-based head."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pydantic

from detector.runtime.decoding.decoding import (
    MAX_LEVELS,
    Floats,
    Levels,
    ObjectnessDecoding,
    Pair,
    Places,
    same_length,
    sigmoid,
)

MAX_ANCHORS = 64
"""Maximum number of anchors of a level."""

Anchors = Annotated[tuple[Pair, ...], pydantic.Field(min_length=1, max_length=MAX_ANCHORS)]


class AnchorDecoding(ObjectnessDecoding):
    """Predictions by anchor, row, column; of each x, y, w, h, objectness, then the classes.

    Attributes:
        strides: of each level, pixels.
        anchors_wh: of each level, pixels.
    """

    kind: Literal["anchors"] = "anchors"
    strides: Levels
    anchors_wh: Annotated[tuple[Anchors, ...], pydantic.Field(max_length=MAX_LEVELS)]

    @pydantic.model_validator(mode="after")
    def _check_levels(self) -> AnchorDecoding:
        same_length(strides=self.strides, anchors_wh=self.anchors_wh)
        return self

    @property
    def level_count(self) -> int:
        """Number of levels."""
        return len(self.strides)

    def channels(self, level: int, classes: int) -> int:
        """Return the number of channels of a level's map."""
        return len(self.anchors_wh[level]) * (5 + classes)

    def predictions(self, level: int, level_map: Floats) -> Floats:
        """Return a view (anchors, h, w, 5 + classes)."""
        _, height, width = level_map.shape
        by_anchor = level_map.reshape(len(self.anchors_wh[level]), -1, height, width)
        predictions: Floats = by_anchor.transpose(0, 2, 3, 1)
        return predictions

    def decode_boxes(self, level: int, raw: Floats, places: Places) -> Floats:
        """Return xy = (2σ − 0.5 + cell) · stride, wh = (2σ)² · anchor, as corners."""
        anchor, row, column = places
        cells_xy = np.stack((column, row), 1).astype(np.float32)
        doubled = sigmoid(raw) * 2
        centre = (doubled[:, :2] - np.float32(0.5) + cells_xy) * np.float32(self.strides[level])
        anchors_wh = np.array(self.anchors_wh[level], np.float32)
        half = np.square(doubled[:, 2:]) * (anchors_wh[anchor] / 2)
        return np.concatenate((centre - half, centre + half), 1)
