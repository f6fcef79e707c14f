"""Calibration of scores: whether boxes of score 0.7 are right in 70 % of the cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.evaluation.analysis.matches import Booleans, Floats, Matches

BINS = 10
"""Number of ranges of score, all of the same width."""


@dataclass(frozen=True)
class ScoreRange:
    """Boxes of a range of scores.

    Attributes:
        low: smallest score.
        high: end of the range.
        boxes: number of boxes, those on crowds left out.
        score: their mean score; None without boxes.
        precision: share that is right at IoU 0.5; None without boxes.
    """

    low: float
    high: float
    boxes: int
    score: float | None
    precision: float | None


@dataclass(frozen=True)
class Calibration:
    """Scores against the share of right boxes.

    Attributes:
        ranges: from the lowest scores to the highest.
        error: expected calibration error: mean distance of score and precision of the ranges,
            weighted by their boxes; 0 without boxes.
        shown_error: the same for boxes from the analysis' confidence on. Most boxes have scores
            near 0, where nothing can be far from right; these are the boxes that a person sees.
        confidence: that confidence.
    """

    ranges: list[ScoreRange]
    error: float
    shown_error: float
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def calibration(matches: Matches, confidence: float) -> Calibration:
    """Compare the scores with the share of right boxes in ranges of equal width."""
    counted = ~matches.boxes.ignored
    scores, right = matches.boxes.scores[counted], matches.boxes.right[counted]
    shown = scores >= confidence
    return Calibration(
        _ranges(scores, right),
        _error(_ranges(scores, right)),
        _error(_ranges(scores[shown], right[shown])),
        confidence,
    )


def _ranges(scores: Floats, right: Booleans) -> list[ScoreRange]:
    place = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)  # a score of 1 is in the last
    boxes = np.bincount(place, minlength=BINS)
    total = np.bincount(place, scores, BINS)
    hits = np.bincount(place, right, BINS)
    return [
        ScoreRange(
            n / BINS,
            (n + 1) / BINS,
            int(boxes[n]),
            float(total[n] / boxes[n]) if boxes[n] else None,
            float(hits[n] / boxes[n]) if boxes[n] else None,
        )
        for n in range(BINS)
    ]


def _error(ranges: list[ScoreRange]) -> float:
    boxes = sum(one.boxes for one in ranges)
    gaps = (
        one.boxes * abs(one.score - one.precision)
        for one in ranges
        if one.score is not None and one.precision is not None
    )
    return sum(gaps) / max(boxes, 1)
