"""Differences between the outputs of an exported file and of the network, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import OUTPUTS, Arrays, KeptBoxes
from detector.runtime.backends.precision import Tolerance
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings
from detector.settings.values import TaskName
from detector.utils.errors import DetectorError

InputBatch = NDArray[np.float32]
"""Normalized images (b, 3, h, w) float32."""

ArrayFunction = Callable[..., Arrays]
"""Function from arrays to arrays: a network, from an ``InputBatch`` to its outputs, or a part of an
exported file."""

Postprocess = Callable[[Arrays, NmsSettings], KeptBoxes]
"""Function from one image's outputs and NMS settings to its boxes after NMS."""

SCORE_ROUNDING = 1e-6
"""Allowed absolute difference of scores: some runtimes approximate the sigmoid to about 1e-7."""


@dataclass(frozen=True)
class Comparison:
    """Largest differences between the outputs of a file and of the network, before NMS.

    Attributes:
        boxes_px: largest difference of a box coordinate, pixels of the input.
        boxes_relative: largest difference of a box coordinate, relative to the largest coordinate.
        scores: largest difference of a score, or of a classifier's probability.
        largest_score: largest score of the network.
        images: number of images compared.
        task: task of the network; a classifier has no boxes.
    """

    boxes_px: float
    boxes_relative: float
    scores: float
    largest_score: float
    images: int
    task: TaskName = "detect"

    def describe(self) -> str:
        """Return the differences as text, for a report."""
        if self.task == "classify":
            return f"probabilities {self.scores:.2e}"
        return f"boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}"

    def is_within(self, tolerance: Tolerance) -> bool:
        """Return True if no difference exceeds its tolerance; NaN always does."""
        return self.boxes_relative <= tolerance.boxes and self.scores <= self._allowed(tolerance)

    def _allowed(self, tolerance: Tolerance) -> float:
        return tolerance.scores * self.largest_score + SCORE_ROUNDING

    def check(self, tolerance: Tolerance) -> None:
        """Raise DetectorError if a difference exceeds its tolerance; NaN always does."""
        if not self.boxes_relative <= tolerance.boxes:
            raise DetectorError(
                f"the exported file differs from the network: boxes by {self.boxes_px:.2e} px, "
                f"{self.boxes_relative:.2e} of the largest coordinate, allowed is "
                f"{tolerance.boxes:.0e}; nothing was written"
            )
        allowed = self._allowed(tolerance)
        if not self.scores <= allowed:
            raise DetectorError(
                f"the exported file differs from the network: scores by {self.scores:.2e}, "
                f"allowed is {allowed:.2e}; nothing was written"
            )


def compare(
    reference: ArrayFunction, other: ArrayFunction, batches: Sequence[InputBatch], task: TaskName
) -> Comparison:
    """Compare the outputs of two functions for the same images.

    Raises:
        DetectorError: the outputs have different shapes.
    """
    boxes_px = boxes_relative = score_difference = largest_score = 0.0
    for images in batches:
        expected, found = reference(images), other(images)
        if [one.shape for one in found] != [one.shape for one in expected]:
            raise _wrong_shapes(found, expected, task)
        *expected_boxes, expected_scores = expected
        *found_boxes, found_scores = found
        for boxes, expected_one in zip(found_boxes, expected_boxes, strict=True):
            difference, extent = largest(boxes - expected_one), largest(expected_one)
            boxes_px = _worse(boxes_px, difference)
            boxes_relative = _worse(boxes_relative, difference / max(extent, 1.0))
        score_difference = _worse(score_difference, largest(found_scores - expected_scores))
        largest_score = max(largest_score, largest(expected_scores))
    count = sum(len(images) for images in batches)
    return Comparison(boxes_px, boxes_relative, score_difference, largest_score, count, task)


def split_batches(batches: Sequence[InputBatch], batch_size: int | None) -> list[InputBatch]:
    """Regroup images into batches of a file's fixed size; the first ones fill up the last.

    Args:
        batches: images of one size each; the batches may have different sizes.
        batch_size: number of images per call of the file; None returns the batches.
    """
    if batch_size is None:
        return list(batches)
    by_size: dict[tuple[int, ...], list[InputBatch]] = {}
    for images in batches:
        by_size.setdefault(images.shape[1:], []).append(images)
    regrouped: list[InputBatch] = []
    for parts in by_size.values():
        images = np.concatenate(parts)
        count = math.ceil(len(images) / batch_size)
        filled = images[np.arange(count * batch_size) % len(images)]
        regrouped += np.split(filled, count)
    return regrouped


def _wrong_shapes(found: Arrays, expected: Arrays, task: TaskName) -> DetectorError:
    names = [name.split("_")[0] for name in OUTPUTS[task]]
    parts = [f"{name} of shape {one.shape}" for name, one in zip(names, found, strict=True)]
    shapes = [str(one.shape) for one in expected]
    return DetectorError(
        f"the exported file gives {' and '.join(parts)}, expected {' and '.join(shapes)}"
    )


def largest(values: NDArray[np.float32]) -> float:
    """Return the largest absolute value; 0 for an empty array."""
    return float(np.abs(values).max(initial=0.0))


def _worse(a: float, b: float) -> float:
    """Return the larger of two differences; NaN is larger than any number."""
    return a if math.isnan(a) or a >= b else b


@dataclass(frozen=True)
class ComparisonAfterNms:
    """Differences between the boxes of a file and of the network, after NMS.

    Attributes:
        boxes_px: largest coordinate difference between two counterparts, pixels of the input.
        scores: largest score difference between two counterparts.
        boxes: number of boxes of the network, in all images.
        unmatched: number of boxes, of the file or the network, without a counterpart.
        total: number of boxes of the file and the network together.
    """

    boxes_px: float
    scores: float
    boxes: int
    unmatched: int
    total: int

    def describe(self) -> str:
        """Return the differences as text, for a report."""
        return (
            f"{self.boxes} boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}, "
            f"{self.unmatched} without counterpart"
        )

    @property
    def unmatched_share(self) -> float:
        """Fraction of all boxes, of the file and the network, without a counterpart."""
        return self.unmatched / max(self.total, 1)

    def check(self, tolerance: Tolerance) -> None:
        """Raise DetectorError if too many boxes have no counterpart."""
        if self.unmatched_share > tolerance.unmatched:
            raise DetectorError(
                f"the exported file differs from the network: {self.unmatched} of {self.total} "
                f"boxes after NMS have no counterpart, allowed is "
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
    """Compare two forms of a network by their boxes after NMS.

    Two boxes are counterparts if they have the same class and differ by no more than the tolerance.
    Boxes without a counterpart are possible in equal networks: NMS compares numbers, so that the
    last digit of a score or an IoU may decide whether a box is kept.

    Args:
        reference: function that returns boxes and scores before NMS.
        run: the function to compare.
        postprocess: applies NMS to the outputs of ``run`` for one image.
        settings: NMS settings.
        batches: normalized images.
        tolerance: limits of the differences between two counterparts.
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
    """Match n boxes with m boxes.

    Returns:
        (n, m) True for counterparts, (n, m) largest coordinate difference in pixels, and (n, m)
        score difference.
    """
    boxes, scores, class_ids = ours
    distance = np.abs(boxes[:, None] - its[0][None]).max(axis=-1, initial=0)
    difference = np.abs(scores[:, None] - its[1][None])
    pairs = class_ids[:, None] == its[2][None]
    pairs &= distance <= tolerance.boxes * max(largest(boxes), 1.0)
    pairs &= difference <= tolerance.scores * largest(scores) + SCORE_ROUNDING
    nearest = np.where(pairs, distance, np.inf)
    best = nearest <= nearest.min(axis=1, keepdims=True, initial=np.inf)
    return pairs & best, distance, difference
