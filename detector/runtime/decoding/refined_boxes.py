"""Decoding of RefineDet's head: default boxes that are moved twice, a softmax that may fade."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import pydantic

from detector.runtime.decoding.decoding import Floats, Places, sigmoid
from detector.runtime.decoding.default_boxes import BoxesOnDefaults, centres_and_sizes

Probability = Annotated[float, pydantic.Field(gt=0, lt=1)]


class RefinedBoxDecoding(BoxesOnDefaults):
    """Predictions by row, column, default box; of each two times dx, dy, dw, dh, then logits.

    The first offsets start at the default box, the second ones at the box that these make. Logits
    are of background and object, then of background and the classes. Boxes are clipped to the
    input.

    Attributes:
        threshold: objectness under which scores are multiplied by objectness / threshold.
    """

    kind: Literal["refined_boxes"] = "refined_boxes"
    threshold: Probability

    @property
    def box_values(self) -> int:
        """Number of raw values of a box."""
        return 8

    @property
    def other_logits(self) -> int:
        """Number of logits before those of the classes."""
        return 3

    def highest_logits(self, logits: Floats) -> Floats:
        """Return the highest logit of a class, minus the background's, lowered as scores fade.

        For a factor f ≤ 1 the sigmoid of x + ln f is f·eˣ / (1 + f·eˣ), at least f · σ(x).
        """
        log_objectness = -np.logaddexp(np.float32(0), logits[..., 0] - logits[..., 1])
        fading = np.minimum(log_objectness - np.float32(math.log(self.threshold)), 0)
        highest: Floats = logits[..., 3:].max(-1) - logits[..., 2] + fading
        return highest

    def decode_scores(self, logits: Floats) -> Floats:
        """Return the probabilities of the classes, without the background's, faded."""
        objectness = sigmoid(logits[:, 1:2] - logits[:, :1])
        kept = np.minimum(objectness / np.float32(self.threshold), np.float32(1))
        powers = np.exp(logits[:, 2:] - logits[:, 2:].max(-1, keepdims=True))
        scores: Floats = (powers / powers.sum(-1, keepdims=True))[:, 1:] * kept
        return scores

    def decode_boxes(self, level: int, raw: Floats, places: Places) -> Floats:
        """Return the default boxes moved by the first offsets, then by the second, clipped."""
        refined_xyxy = self.moved(self.default_boxes(level, places), raw[:, :4])
        return self.clipped(self.moved(centres_and_sizes(refined_xyxy), raw[:, 4:]))
