"""How far a file's boxes lie from the network's, after suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.errors import DetectorError
from detector.export.comparison import (
    SCORE_ROUNDING,
    SINGLE,
    Images,
    Run,
    Tolerance,
    as_taken,
    largest,
)
from detector.runtime.backend import Arrays as Outputs
from detector.runtime.exported import ExportedBackend
from detector.runtime.nms import nms


@dataclass(frozen=True)
class FinalComparison:
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

    def described(self) -> str:
        """The differences, for a report to read."""
        return (
            f"{self.boxes} boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}, "
            f"{self.unmatched} without counterpart"
        )

    def check(self, tolerance: Tolerance = SINGLE) -> None:
        """Raise where too many boxes have no counterpart."""
        if self.unmatched > tolerance.unmatched * self.total:
            raise DetectorError(
                f"the exported file differs from the network: {self.unmatched} of {self.total} "
                f"boxes after suppression have no counterpart, allowed are "
                f"{tolerance.unmatched:.0%}; nothing was written"
            )


def compare_final(
    reference: Run,
    backend: ExportedBackend,
    batches: Sequence[Images],
    tolerance: Tolerance = SINGLE,
) -> FinalComparison:
    """Compare the boxes that suppression leaves of either, with the file's own thresholds.

    Two boxes are counterparts if they have the same class and differ by no more than the tolerance:
    suppression compares numbers, so that the last digit of one may decide about another box.
    """
    settings = backend.measuring
    boxes_px = scores = 0.0
    count = unmatched = total = 0
    for images in as_taken(batches, backend.batch_size):
        expected, found = reference(images), backend(images)
        for index in range(len(images)):
            ours = nms(expected[0][index], expected[1][index], settings)
            its = backend.nms(*(part[index] for part in found), settings)
            pairs, distance, difference = _counterparts(ours, its, tolerance)
            boxes_px = max(boxes_px, float(distance[pairs].max(initial=0)))
            scores = max(scores, float(difference[pairs].max(initial=0)))
            unmatched += int((~pairs.any(1)).sum() + (~pairs.any(0)).sum())
            count += len(ours[1])
            total += len(ours[1]) + len(its[1])
    return FinalComparison(boxes_px, scores, count, unmatched, total)


def _counterparts(
    ours: Outputs, its: Outputs, tolerance: Tolerance
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
