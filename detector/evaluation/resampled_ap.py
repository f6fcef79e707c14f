"""AP on resamples of the images, from matches that were found once.

An image that was drawn w times counts w times: each of its true positives, false positives and
objects has weight w. The result is the AP of a data set in which the image occurs w times: between
copies of one detection, precision only rises (true positives) or recall stands still (false
positives), so that the envelope of precision is the same. Detections of equal score in one image
alternate between its copies; they are counted copy by copy. Matching is by image, and is not done
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.intervals import Floats, Weights
from detector.utils import system

CHUNK_VALUES = 1 << 19
"""Values of one array while AP is resampled; more resamples are processed in turns."""

Indices = NDArray[np.intp]

Counts = NDArray[np.int32]
"""(resamples, hits): a running count at each true positive, best first."""

Curve = Callable[[Counts, Counts], Floats]
"""Function from the true positives up to each hit (resamples, hits) and the objects (resamples, 1)
to the share of AP that is read at each hit: AP is the sum of shares times the best precision from
there on."""


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class in all images, best first, and its number of objects by image.

    Attributes:
        image: (d,) index of each detection's image.
        score: (d,) score of each detection.
        counted: (thresholds, d) True where a detection is right or wrong, not ignored.
        right: (thresholds, d) True for true positives.
        objects: (images,) number of objects that count.
    """

    image: Indices
    score: Floats
    counted: NDArray[np.bool_]
    right: NDArray[np.bool_]
    objects: NDArray[np.int32]

    def first(self, number: int) -> ClassMatches:
        """Return the first detections only."""
        return self._picked(np.arange(number))

    def in_copies(self, copies: int) -> tuple[ClassMatches, NDArray[np.int32]]:
        """Return each detection once, or once a copy of its image if another one there is its tie.

        Args:
            copies: largest number of times that an image was drawn.

        Returns:
            The matches, and the number of each one's copy, from 1 on; 0 stands for all copies.
        """
        starts = (np.diff(self.score) != 0) | (np.diff(self.image) != 0)
        run = np.concatenate([np.zeros(1, np.intp), np.cumsum(starts)])[: len(self.image)]
        tied = np.bincount(run)[run] > 1
        index = np.concatenate([np.flatnonzero(~tied), np.repeat(np.flatnonzero(tied), copies)])
        each = np.tile(np.arange(1, copies + 1, dtype=np.int32), np.count_nonzero(tied))
        copy = np.concatenate([np.zeros(np.count_nonzero(~tied), np.int32), each])
        order = np.lexsort((index, copy, run[index]))
        return self._picked(index[order]), copy[order]

    def _picked(self, index: Indices) -> ClassMatches:
        return replace(
            self,
            image=self.image[index],
            score=self.score[index],
            counted=self.counted[:, index],
            right=self.right[:, index],
        )


def resampled_ap(
    of_classes: Sequence[ClassMatches], weights: Weights, curve: Curve
) -> list[Floats]:
    """Return each class's AP at each IoU threshold on each resample.

    Args:
        of_classes: matches of each class.
        weights: (resamples, images), how often each image was drawn.
        curve: which shares of AP are read at which recall.

    Returns:
        For each class (thresholds, resamples) AP; −1 for a resample without objects.
    """
    copies = int(weights.max(initial=0))
    with ThreadPoolExecutor(system.available_cores()) as pool:
        return list(pool.map(lambda one: _class_ap(one, weights, copies, curve), of_classes))


def mean_of_present(values: Floats) -> Floats:
    """Return the mean over the first axis of what is there; −1 where nothing is.

    >>> mean_of_present(np.array([[0.5, -1], [1, -1]])).tolist()
    [0.75, -1.0]
    """
    present = values >= 0
    count = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), -1.0)


def _class_ap(matches: ClassMatches, weights: Weights, copies: int, curve: Curve) -> Floats:
    """Return a class's AP, (thresholds, resamples)."""
    matches, copy = matches.in_copies(copies)
    found = np.flatnonzero(matches.right.any(axis=0))
    last = 0 if not len(found) else int(found[-1]) + 1  # what comes after lowers no precision
    matches, copy = matches.first(last), copy[:last]
    at_once = max(1, CHUNK_VALUES // max(len(copy), 1))
    parts = [
        _chunk_ap(matches, copy, weights[start : start + at_once], curve)
        for start in range(0, len(weights), at_once)
    ]
    none = np.zeros((len(matches.right), 0))
    return np.concatenate([none, *parts], axis=1)


def _chunk_ap(
    matches: ClassMatches, copy: NDArray[np.int32], weights: Weights, curve: Curve
) -> Floats:
    """Return a class's AP on some resamples, (thresholds, resamples)."""
    objects = weights @ matches.objects
    drawn = np.take(weights, matches.image, axis=1)
    single = np.flatnonzero(copy)
    drawn[:, single] = drawn[:, single] >= copy[single]
    hits = np.flatnonzero(matches.right.any(axis=0))
    drawn_hits = drawn[:, hits]
    seen = np.cumsum(drawn, axis=1, dtype=np.int32)[:, hits]
    result = np.zeros((len(matches.right), len(weights)))
    for threshold, (right, counted) in enumerate(zip(matches.right, matches.counted, strict=True)):
        here = right[hits]
        true = np.cumsum(drawn_hits[:, here], axis=1, dtype=np.int32)
        ignored = _sums_before(hits[here], np.flatnonzero(~counted), drawn)
        result[threshold] = _area(true, seen[:, here] - ignored, objects[:, None], curve)
    return np.where(objects > 0, result, -1.0)


def _sums_before(hits: Indices, ignored: Indices, drawn: Weights) -> Counts:
    """Return how many ignored detections come before each hit, (resamples, hits)."""
    sums = np.zeros((len(drawn), len(ignored) + 1), np.int32)
    np.cumsum(drawn[:, ignored], axis=1, out=sums[:, 1:])
    return sums[:, np.searchsorted(ignored, hits)]


def _area(true: Counts, seen: Counts, objects: Counts, curve: Curve) -> Floats:
    """Return the sum over all hits of the share read there times the envelope, (resamples,)."""
    precision = true / np.maximum(seen, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return cast(Floats, np.einsum("rh,rh->r", envelope, curve(true, np.maximum(objects, 1))))
