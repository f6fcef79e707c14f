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

CentresAndSizes = tuple[Floats, Floats]
"""Centres (m, 2) and sizes (m, 2) of boxes, pixels."""


def centres_and_sizes(boxes_xyxy: Floats) -> CentresAndSizes:
    """Return centres and sizes of boxes (m, 4)."""
    left_top, right_bottom = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return (left_top + right_bottom) / np.float32(2), right_bottom - left_top


class BoxesOnDefaults(Decoding):
    """Base class: predictions by row, column and default box.

    Attributes:
        steps: distance between the centres of each level's boxes, pixels.
        sizes_wh: of each level's boxes, pixels.
        variances: factors of the offsets of centres and of those of sides.
        size_hw: height and width of the input, pixels.
    """

    steps: Levels
    sizes_wh: Annotated[tuple[Anchors, ...], pydantic.Field(max_length=MAX_LEVELS)]
    variances: Pair
    size_hw: Pair

    @pydantic.model_validator(mode="after")
    def _check_levels(self) -> BoxesOnDefaults:
        same_length(steps=self.steps, sizes_wh=self.sizes_wh)
        return self

    @property
    def level_count(self) -> int:
        """Number of levels."""
        return len(self.steps)

    @property
    def other_logits(self) -> int:
        """Number of logits before those of the classes."""
        return 1

    def channels(self, level: int, classes: int) -> int:
        """Return the number of channels of a level's map."""
        return len(self.sizes_wh[level]) * (self.box_values + self.other_logits + classes)

    def predictions(self, level: int, level_map: Floats) -> Floats:
        """Return a view (h, w, boxes, k)."""
        _, height, width = level_map.shape
        by_box = level_map.reshape(len(self.sizes_wh[level]), -1, height, width)
        predictions: Floats = by_box.transpose(2, 3, 0, 1)
        return predictions

    def default_boxes(self, level: int, places: Places) -> CentresAndSizes:
        """Return the default boxes at these places, as of their float32 corners."""
        row, column, box = places
        centre = (np.stack((column, row), 1) + 0.5) * self.steps[level]
        half = np.array(self.sizes_wh[level])[box] / 2
        corners = np.concatenate((centre - half, centre + half), 1).astype(np.float32)
        return centres_and_sizes(corners)

    def moved(self, boxes: CentresAndSizes, offsets: Floats) -> Floats:
        """Return centre + v₀ · offset · size and size · exp(v₁ · offset), as corners (m, 4)."""
        centre, size = boxes
        of_centres, of_sides = map(np.float32, self.variances)
        moved = centre + of_centres * offsets[:, :2] * size
        half = size / 2 * np.exp(np.minimum(of_sides * offsets[:, 2:], np.float32(MAX_LOG_SIDE)))
        return np.concatenate((moved - half, moved + half), 1)

    def clipped(self, boxes_xyxy: Floats) -> Floats:
        """Return the parts of boxes inside the input."""
        height, width = self.size_hw
        return boxes_xyxy.clip(0, np.array([width, height, width, height], np.float32))


class DefaultBoxDecoding(BoxesOnDefaults):
    """SSD: of each default box dx, dy, dw, dh, background, the classes; clipped to the input."""

    kind: Literal["default_boxes"] = "default_boxes"

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
        """Return the default boxes moved by their offsets, clipped."""
        return self.clipped(self.moved(self.default_boxes(level, places), raw))
