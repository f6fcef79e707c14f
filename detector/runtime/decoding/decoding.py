"""Decoding of only those predictions whose score may reach a confidence.

Most of a detector's predictions are background: of the 25,200 of YOLOv5 at 640 pixels some hundred
can reach a confidence of 0.25. A network's raw outputs therefore leave it undecoded, as its last
convolutions make them. Here the predictions that matter are found by one logit each, and only
these are decoded. Since each is decoded on its own, their boxes and scores equal those of decoding
all, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector.utils.yaml_file import Strict

Floats = NDArray[np.float32]
Places = tuple[NDArray[np.int64], ...]

MAX_LEVELS = 16
"""Maximum number of levels."""

MAX_LOG_SIDE = math.log(10_000)
"""Largest log ratio of a decoded side to its cell or default box, so that no box is infinite."""

SLACK = 0.01
"""Distance below a confidence's logit at which predictions are still decoded.

Scores are compared exactly later: this covers the rounding of both the logit and the sigmoid.
"""

LARGEST_CONFIDENCE = 1 - 1e-6
"""Confidence above which logits do not tell predictions apart: a sigmoid may round to 1."""

Positive = Annotated[float, pydantic.Field(gt=0)]
Levels = Annotated[tuple[Positive, ...], pydantic.Field(min_length=1, max_length=MAX_LEVELS)]
Pair = tuple[Positive, Positive]


class Decoding(Strict):
    """Base class of the ways in which heads encode boxes and scores; stored in exported files.

    Each level has one map, (channels, h, w). Subclasses arrange its channels as predictions of k
    values each: ``box_values`` of the box, then logits of the classes, behind one of objectness or
    of the background if there is one.

    Attributes:
        channels_last: maps are (h, w, channels), as some runtimes compute them.
    """

    channels_last: bool = False

    @property
    def box_values(self) -> int:
        """Number of raw values of a box."""
        return 4

    @property
    def level_count(self) -> int:
        """Number of levels."""
        raise NotImplementedError

    def channels(self, level: int, classes: int) -> int:
        """Return the number of channels of a level's map."""
        raise NotImplementedError

    def predictions(self, level: int, level_map: Floats) -> Floats:
        """Return a view (..., k) of a level's (c, h, w) map, in the order of the predictions."""
        raise NotImplementedError

    def highest_logits(self, logits: Floats) -> Floats:
        """Return numbers (...) whose sigmoid no score of (..., n) logits exceeds."""
        raise NotImplementedError

    def decode_scores(self, logits: Floats) -> Floats:
        """Return the scores (m, classes) of (m, n) logits."""
        raise NotImplementedError

    def decode_boxes(self, level: int, raw: Floats, places: Places) -> Floats:
        """Return boxes_xyxy (m, 4), pixels of the input.

        Args:
            level: number of the level.
            raw: (m, box_values) raw values.
            places: index of each prediction along each axis of :meth:`predictions`.
        """
        raise NotImplementedError

    def outputs(self, classes: int) -> dict[str, tuple[str | int, ...]]:
        """Return the names of a network's raw outputs, and of their dimensions, or their sizes."""
        found: dict[str, tuple[str | int, ...]] = {}
        for level in range(self.level_count):
            channels, sides = self.channels(level, classes), (f"h{level}", f"w{level}")
            last = ("batch", *sides, channels)
            found[f"level_{level}"] = last if self.channels_last else ("batch", channels, *sides)
        return found

    def candidates(self, maps: Sequence[Floats], confidence: float) -> tuple[Floats, Floats]:
        """Decode the predictions of one image that may have a score of at least ``confidence``.

        Args:
            maps: (c, h, w) of each level, or (h, w, c).
            confidence: 0 decodes all of them.

        Returns:
            boxes_xyxy (m, 4), pixels of the input, and scores (m, classes), in the order of the
            levels and of the predictions of each.
        """
        least = _logit(confidence)
        found = [self._candidates(level, one, least) for level, one in enumerate(maps)]
        boxes_xyxy, scores = zip(*found, strict=True)
        return np.concatenate(boxes_xyxy), np.concatenate(scores)

    def _candidates(self, level: int, level_map: Floats, least: float) -> tuple[Floats, Floats]:
        channels_first = np.moveaxis(level_map, -1, 0) if self.channels_last else level_map
        predictions = self.predictions(level, channels_first)
        highest = self.highest_logits(predictions[..., self.box_values :])
        places = np.nonzero(~(highest < np.float32(least)))
        raw = predictions[places]
        with np.errstate(over="ignore"):  # the exponential of a low logit, which gives a score of 0
            return (
                self.decode_boxes(level, raw[:, : self.box_values], places),
                self.decode_scores(raw[:, self.box_values :]),
            )


class ObjectnessDecoding(Decoding):
    """Base class: a score is the probability of any object times that of the class."""

    def highest_logits(self, logits: Floats) -> Floats:
        """Return the logits of objectness, whose probability is a factor of all scores."""
        return logits[..., 0]

    def decode_scores(self, logits: Floats) -> Floats:
        """Return objectness times the probabilities of the classes."""
        probabilities = sigmoid(logits)
        return probabilities[:, 1:] * probabilities[:, :1]


def decode_all(decoding: Decoding, outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Decode all predictions of a batch.

    Args:
        decoding: how the network's raw outputs encode them.
        outputs: (b, c, h, w) of each level, or (b, h, w, c).

    Returns:
        boxes_xyxy (b, n, 4), pixels of the input, and scores (b, n, classes).
    """
    images = [
        decoding.candidates([output[index] for output in outputs], confidence=0)
        for index in range(len(outputs[0]))
    ]
    boxes_xyxy, scores = zip(*images, strict=True)
    return np.stack(boxes_xyxy), np.stack(scores)


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(−x))."""
    probabilities: Floats = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return probabilities


def same_length(**levels: Sequence[Any]) -> None:
    """Raise ValueError unless all have as many levels as the first one."""
    (first, values), *others = levels.items()
    for name, other in others:
        if len(other) != len(values):
            raise ValueError(f"{name} has {len(other)} levels, {first} {len(values)}")


def _logit(confidence: float) -> float:
    if confidence <= 0:
        return -math.inf
    highest = min(confidence, LARGEST_CONFIDENCE)
    return math.log(highest / (1 - highest)) - SLACK
