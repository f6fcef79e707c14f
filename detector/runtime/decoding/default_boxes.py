"""Decoding of SSD's head: offsets from default boxes, and a softmax with a background class."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pydantic

from detector.runtime.decoding.anchors import Anchors
from detector.runtime.decoding.decoding import (
    MAX_LEVELS,
    MAX_LOG_SIDE,
    Decoding,
    Floats,
    Levels,
    Pair,
    Places,
    same_length,
)


class DefaultBoxDecoding(Decoding):
    """Predictions by row, column, default box; of each dx, dy, dw, dh, background, the classes.

    Boxes are clipped to the input.

    Attributes:
        steps: distance between the centres of each level's boxes, pixels.
        sizes_wh: of each level's boxes, pixels.
        variances: factors of the offsets of centres and of those of sides.
        size_hw: height and width of the input, pixels.
    """

    kind: Literal["default_boxes"] = "default_boxes"
    steps: Levels
    sizes_wh: Annotated[tuple[Anchors, ...], pydantic.Field(max_length=MAX_LEVELS)]
    variances: Pair
    size_hw: Pair

    @pydantic.model_validator(mode="after")
    def _check_levels(self) -> DefaultBoxDecoding:
        same_length(steps=self.steps, sizes_wh=self.sizes_wh)
        return self

    @property
    def level_count(self) -> int:
        """Number of levels."""
        return len(self.steps)

    def channels(self, level: int, classes: int) -> int:
        """Return the number of channels of a level's map."""
        return len(self.sizes_wh[level]) * (4 + 1 + classes)

    def predictions(self, level: int, level_map: Floats) -> Floats:
        """Return a view (h, w, boxes, 5 + classes)."""
        _, height, width = level_map.shape
        by_box = level_map.reshape(len(self.sizes_wh[level]), -1, height, width)
        predictions: Floats = by_box.transpose(2, 3, 0, 1)
        return predictions

    def highest_logits(self, logits: Floats) -> Floats:
        """Return the highest logit of a class, minus the background's.

        A class has the probability 1 / (1 + exp(background − class) + …), with a term above 0 for
        each other class.
        """
        highest: Floats = logits[..., 1:].max(-1) - logits[..., 0]
        return highest

    def decode_scores(self, logits: Floats) -> Floats:
        """Return the probabilities of the classes, without the background's."""
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        scores: Floats = (powers / powers.sum(-1, keepdims=True))[:, 1:]
        return scores

    def decode_boxes(self, level: int, raw: Floats, places: Places) -> Floats:
        """Return centre + v₀ · offset · size and size · exp(v₁ · offset), as corners, clipped."""
        of_centres, of_sides = map(np.float32, self.variances)
        centre, size = self._default_boxes(level, places)
        moved = centre + of_centres * raw[:, :2] * size
        half = size / 2 * np.exp(np.minimum(of_sides * raw[:, 2:], np.float32(MAX_LOG_SIDE)))
        height, width = self.size_hw
        limits = np.array([width, height, width, height], np.float32)
        boxes_xyxy: Floats = np.concatenate((moved - half, moved + half), 1).clip(0, limits)
        return boxes_xyxy

    def _default_boxes(self, level: int, places: Places) -> tuple[Floats, Floats]:
        """Return centre (m, 2) and size (m, 2) of default boxes, as of their float32 corners."""
        row, column, box = places
        centre = (np.stack((column, row), 1) + 0.5) * self.steps[level]
        half = np.array(self.sizes_wh[level])[box] / 2
        left_top: Floats = (centre - half).astype(np.float32)
        right_bottom: Floats = (centre + half).astype(np.float32)
        return (left_top + right_bottom) / np.float32(2), right_bottom - left_top
