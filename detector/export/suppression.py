"""Comparisons with suppression: of the boxes it leaves, and of a file's suppression by itself."""

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
from detector.runtime.exported import ExportedBackend, kept_by_file
from detector.runtime.nms import nms
from detector.settings import NmsSettings

DRAWN_CANDIDATES = 1000
"""For each image, of the boxes that a file's suppression is compared on."""


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


@dataclass(frozen=True)
class Parts:
    """A file that holds the suppression, apart.

    Attributes:
        network: (b, 3, h, w) images → what stands before the suppression.
        suppression: boxes_xyxy (b, n, 4), scores (b, n, classes) → what the file gives.
    """

    network: Run
    suppression: Run


def check_suppression(parts: Parts, settings: NmsSettings, images: Images) -> None:
    """Compare a file's suppression with ours on drawn boxes, as many as the network gives.

    What a network finds in a few images may be next to nothing. Half of the drawn candidates are
    above the confidence, and nothing that is not drawn is.

    Raises:
        DetectorError: they keep different boxes.
    """
    boxes_xyxy, scores = parts.network(images)
    rng = np.random.default_rng(0)
    corners = rng.random((*boxes_xyxy.shape[:2], 2), np.float32) * max(images.shape[2:])
    sides = rng.random(corners.shape, np.float32) * (max(images.shape[2:]) / 4)
    boxes = np.concatenate([corners, corners + sides], axis=-1)
    drawn = rng.random(scores.shape) * scores[0].size < DRAWN_CANDIDATES
    around = np.float32(settings.confidence - 0.5) + rng.random(scores.shape, np.float32)
    values = np.where(drawn, around, np.float32(-1))
    found = parts.suppression(boxes, values)
    for index in range(len(images)):
        ours: Outputs = nms(boxes[index], values[index], settings)
        rows = [part[index] for part in found]
        its: Outputs = kept_by_file(rows[0], rows[1], rows[2], settings)
        if not all(map(np.array_equal, ours, its)):
            raise DetectorError(
                f"the exported file's suppression keeps {len(its[1])} drawn boxes, "
                f"detector.runtime.nms other {len(ours[1])}; nothing was written"
            )
