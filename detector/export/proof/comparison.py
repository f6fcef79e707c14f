"""How far the results of an exported file lie from the network's, and how far they may."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import OUTPUTS, Arrays, KeptBoxes
from detector.runtime.backends.precision import Tolerance
from detector.runtime.nms.nms import nms
from detector.settings import NmsSettings, TaskName
from detector.utils.errors import DetectorError

InputBatch = NDArray[np.float32]
ArrayFunction = Callable[..., Arrays]
"""What computes: arrays, of a whole network normalised images (b, 3, h, w), → its outputs."""

Postprocess = Callable[[Arrays, NmsSettings], KeptBoxes]
"""One image's outputs, and the settings → its boxes after NMS."""

SCORE_ROUNDING = 1e-6
"""Of runtimes whose sigmoid is an approximation, exact to about 1e-7."""


@dataclass(frozen=True)
class Comparison:
    """How far a file's results lie from the network's.

    Attributes:
        boxes_px: largest difference of a box's coordinate, pixels of the input.
        boxes_relative: the same, of the largest coordinate.
        scores: largest difference of a score.
        largest_score: that the network gives.
        images: number of images compared.
        task: a classifier's file has no boxes, and its scores are probabilities.
    """

    boxes_px: float
    boxes_relative: float
    scores: float
    largest_score: float
    images: int
    task: TaskName = "detect"

    def describe(self) -> str:
        """The differences, for a report to read."""
        if self.task == "classify":
            return f"probabilities {self.scores:.2e}"
        return f"boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}"

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether the differences are no larger; one that is no number never is."""
        return self.boxes_relative <= tolerance.boxes and self.scores <= self._allowed(tolerance)

    def _allowed(self, tolerance: Tolerance) -> float:
        return tolerance.scores * self.largest_score + SCORE_ROUNDING

    def check(self, tolerance: Tolerance) -> None:
        """Raise where a difference is not within its tolerance; one that is no number never is."""
        if not self.boxes_relative <= tolerance.boxes:
            raise DetectorError(
                f"the exported file differs from the network: boxes by {self.boxes_px:.2e} px, "
                f"{self.boxes_relative:.2e} of the largest coordinate, allowed are "
                f"{tolerance.boxes:.0e}; nothing was written"
            )
        allowed = self._allowed(tolerance)
        if not self.scores <= allowed:
            raise DetectorError(
                f"the exported file differs from the network: scores by {self.scores:.2e}, "
                f"allowed are {allowed:.2e}; nothing was written"
            )


def compare(
    reference: ArrayFunction, other: ArrayFunction, batches: Sequence[InputBatch], task: TaskName
) -> Comparison:
    """Run both on the same images.

    Raises:
        DetectorError: their outputs have different shapes.
    """
    boxes_px = boxes_relative = score_difference = largest_score = 0.0
    for images in batches:
        expected, found = reference(images), other(images)
        if [one.shape for one in found] != [one.shape for one in expected]:
            raise _wrong_shapes(found, expected, task)
        *expected_boxes, expected_scores = expected
        *found_boxes, found_scores = found
        for boxes, truth in zip(found_boxes, expected_boxes, strict=True):
            difference, extent = largest(boxes - truth), largest(truth)
            boxes_px = _worse(boxes_px, difference)
            boxes_relative = _worse(boxes_relative, difference / max(extent, 1.0))
        score_difference = _worse(score_difference, largest(found_scores - expected_scores))
        largest_score = max(largest_score, largest(expected_scores))
    count = sum(len(images) for images in batches)
    return Comparison(boxes_px, boxes_relative, score_difference, largest_score, count, task)


def split_batches(batches: Sequence[InputBatch], batch_size: int | None) -> list[InputBatch]:
    """Batches of the number of images that a file takes; it must divide them."""
    if batch_size is None:
        return list(batches)
    return [
        images[start : start + batch_size]
        for images in batches
        for start in range(0, len(images), batch_size)
    ]


def _wrong_shapes(found: Arrays, expected: Arrays, task: TaskName) -> DetectorError:
    names = [name.split("_")[0] for name in OUTPUTS[task]]
    parts = [f"{name} of shape {one.shape}" for name, one in zip(names, found, strict=True)]
    shapes = [str(one.shape) for one in expected]
    return DetectorError(
        f"the exported file gives {' and '.join(parts)}, expected {' and '.join(shapes)}"
    )


def largest(values: NDArray[np.float32]) -> float:
    """The largest absolute value; 0 of none."""
    return float(np.abs(values).max(initial=0.0))


def _worse(a: float, b: float) -> float:
    """The larger one, where not-a-number is the largest of all."""
    return a if math.isnan(a) or a >= b else b


@dataclass(frozen=True)
class ComparisonAfterNms:
    """How far a file's boxes lie from the network's, after suppression.

    Attributes:
        boxes_px: largest difference of a coordinate of two counterparts, pixels of the input.
        scores: largest difference of their scores.
        boxes: how many the network has, in all images.
        unmatched: how many of either have no counterpart.
        total: of both.
    """

    boxes_px: float
    scores: float
    boxes: int
    unmatched: int
    total: int

    def describe(self) -> str:
        """The differences, for a report to read."""
        return (
            f"{self.boxes} boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}, "
            f"{self.unmatched} without counterpart"
        )

    @property
    def unmatched_share(self) -> float:
        """Fraction of the boxes of both that have no counterpart."""
        return self.unmatched / max(self.total, 1)

    def check(self, tolerance: Tolerance) -> None:
        """Raise where too many boxes have no counterpart."""
        if self.unmatched_share > tolerance.unmatched:
            raise DetectorError(
                f"the exported file differs from the network: {self.unmatched} of {self.total} "
                f"boxes after NMS have no counterpart, allowed are "
                f"{tolerance.unmatched:.0%}; nothing was written"
            )


def compare_after_nms(
    reference: ArrayFunction,
    run: ArrayFunction,
    postprocess: Postprocess,
    settings: NmsSettings,
    batches: Sequence[InputBatch],
    tolerance: Tolerance,
) -> ComparisonAfterNms:
    """Compare the boxes that NMS leaves of what two forms of a network give.

    Two boxes are counterparts if they have the same class and differ by no more than the tolerance:
    NMS compares numbers, so that the last digit of one may decide about another box.

    Args:
        reference: gives boxes and scores before NMS.
        run: what is compared with it.
        postprocess: makes boxes after NMS of one image's part of what ``run`` gives.
        settings: of NMS.
        batches: normalised images, as both take them.
        tolerance: of boxes and scores.
    """
    boxes_px = scores = 0.0
    count = unmatched = total = 0
    for images in batches:
        expected, found = reference(images), run(images)
        for index in range(len(images)):
            ours = nms(expected[0][index], expected[1][index], settings)
            its = postprocess(tuple(part[index] for part in found), settings)
            pairs, distance, difference = _counterparts(ours, its, tolerance)
            boxes_px = max(boxes_px, float(distance[pairs].max(initial=0)))
            scores = max(scores, float(difference[pairs].max(initial=0)))
            unmatched += int((~pairs.any(1)).sum() + (~pairs.any(0)).sum())
            count += len(ours[1])
            total += len(ours[1]) + len(its[1])
    return ComparisonAfterNms(boxes_px, scores, count, unmatched, total)


def _counterparts(
    ours: Arrays, its: Arrays, tolerance: Tolerance
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Which of n boxes matches which of m, and how far each pair's boxes and scores differ."""
    boxes, scores, class_ids = ours
    distance = np.abs(boxes[:, None] - its[0][None]).max(axis=-1, initial=0)
    difference = np.abs(scores[:, None] - its[1][None])
    pairs = class_ids[:, None] == its[2][None]
    pairs &= distance <= tolerance.boxes * max(largest(boxes), 1.0)
    pairs &= difference <= tolerance.scores * largest(scores) + SCORE_ROUNDING
    nearest = np.where(pairs, distance, np.inf)
    best = nearest <= nearest.min(axis=1, keepdims=True, initial=np.inf)
    return pairs & best, distance, difference
