"""Bootstrap intervals: how far a metric may lie from its value on other images of the same kind.

A resample draws as many images as there are, with replacement, and is described by its weights: how
often each image was drawn. Two networks are compared on the same resamples (a paired bootstrap), so
that the difficulty of the images drawn cancels in the difference of their metrics.
"""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

RESAMPLES = 1000
"""Number of resamples of an interval."""

COVERED = 0.95
"""Share of the resamples that an interval covers."""

CHUNK_VALUES = 1 << 24
"""Values of one array while AP is resampled; more resamples are processed in turns."""

Weights = NDArray[np.int32]
"""(resamples, images): how often each image was drawn, in the order of the evaluator's images."""

Floats = NDArray[np.float64]


@runtime_checkable
class CanResample(Protocol):
    """An evaluator that can tell its main metric on resamples of its images."""

    def resampled(self, weights: Weights) -> Floats:
        """Return the main metric of the results so far on each resample."""
        ...


def draw(images: int, resamples: int = RESAMPLES) -> Weights:
    """Return the weights of resamples, the same ones on each call.

    >>> draw(5, 3).sum(axis=1).tolist()
    [5, 5, 5]
    """
    shares = np.full(images, 1 / images)
    return np.random.default_rng(0).multinomial(images, shares, resamples).astype(np.int32)


def interval(values: Floats) -> tuple[float, float]:
    """Return the percentiles between which ``COVERED`` of the values lie."""
    low, high = np.quantile(values, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def resampled_mean(values: Floats, weights: Weights) -> Floats:
    """Return the mean of one value per image on each resample."""
    return np.asarray(weights @ values / np.maximum(weights.sum(axis=1), 1), np.float64)


def resampled_ap(evaluation: COCOeval, weights: Weights) -> Floats:
    """Return COCO AP on each resample, from the matches that pycocotools has found.

    An image that was drawn w times counts w times: each of its true positives, false positives and
    objects has weight w where pycocotools accumulates them. The result is the AP that pycocotools
    computes on a data set in which the image occurs w times: between copies of one detection,
    precision only rises (true positives) or recall stands still (false positives), so that the
    envelope of precision at each of the 101 recalls is the same. As there, classes without an
    object in the resample are left out, and detections of equal score stay in the order of their
    images. Matching is by image, and is not done again.

    Args:
        evaluation: pycocotools' evaluation, after ``evaluate()``, by class.
        weights: (resamples, images), in the order of ``evaluation.params.imgIds``.

    Returns:
        (resamples,) AP; −1 for a resample without objects.
    """
    of_classes = [_ClassMatches(images) for images in _by_class(evaluation)]
    recalls = np.asarray(evaluation.params.recThrs)
    largest = max([len(one.image) for one in of_classes], default=0)
    at_once = max(1, CHUNK_VALUES // max(largest, 1))
    parts = [
        _mean_ap(of_classes, recalls, weights[start : start + at_once])
        for start in range(0, len(weights), at_once)
    ]
    return np.concatenate(parts)


class _ClassMatches:
    """The detections of one class in all images, best first, and its number of objects by image.

    Attributes:
        image: (d,) index of each detection's image.
        counted: (thresholds, d) True where a detection is right or wrong, not ignored.
        right: (thresholds, d) True for true positives.
        objects: (images,) number of objects that count.
    """

    def __init__(self, images: list[dict[str, Any] | None]) -> None:
        found = [(i, one) for i, one in enumerate(images) if one is not None]
        self.objects = np.zeros(len(images), np.int32)
        for i, one in found:
            self.objects[i] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        scores = np.concatenate([np.zeros(0), *(one["dtScores"] for _, one in found)])
        order = np.argsort(-scores, kind="mergesort")  # as pycocotools does
        counts = [len(one["dtScores"]) for _, one in found]
        self.image = np.repeat([i for i, _ in found], counts).astype(np.intp)[order]
        none = np.zeros((1, 0), np.bool_)
        matched = [np.asarray(one["dtMatches"]) != 0 for _, one in found if one["dtScores"]]
        ignored = [np.asarray(one["dtIgnore"]) != 0 for _, one in found if one["dtScores"]]
        self.counted = ~np.concatenate(ignored, axis=1)[:, order] if ignored else none
        self.right = np.concatenate(matched, axis=1)[:, order] & self.counted if matched else none


def _by_class(evaluation: COCOeval) -> list[list[dict[str, Any] | None]]:
    """Return the matches of each class: those of each image, for objects of all sizes."""
    params = evaluation.params
    images, areas = len(params.imgIds), len(params.areaRng)
    found = cast(list[dict[str, Any] | None], evaluation.evalImgs)
    starts = range(0, len(params.catIds) * areas * images, areas * images)
    return [found[start : start + images] for start in starts]


def _mean_ap(of_classes: list[_ClassMatches], recalls: Floats, weights: Weights) -> Floats:
    """Return the mean over classes and IoU thresholds of AP, (resamples,)."""
    total, count = np.zeros(len(weights)), np.zeros(len(weights))
    for one in of_classes:
        objects = weights @ one.objects
        present = objects > 0
        if present.any():
            total[present] += _class_ap(one, recalls, weights[present], objects[present])
            count += present
    return np.where(count > 0, total / np.maximum(count, 1), -1.0)


def _class_ap(one: _ClassMatches, recalls: Floats, weights: Weights, objects: Weights) -> Floats:
    """Return the mean over IoU thresholds of one class's AP, (resamples,)."""
    drawn = weights[:, one.image]
    aps = [
        _ap(drawn, right, counted, recalls, objects)
        for right, counted in zip(one.right, one.counted, strict=True)
    ]
    return cast(Floats, np.mean(aps, axis=0))


def _ap(
    drawn: Weights,
    right: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    recalls: Floats,
    objects: Weights,
) -> Floats:
    """Return AP at one IoU threshold, (resamples,).

    Recall rises at true positives only, so that the sum over 101 recalls is one over the true
    positives: the best precision from there on, times the number of recalls that it reaches first.

    Args:
        drawn: (resamples, d) weight of each detection, best first.
        right: (d,) True for true positives.
        counted: (d,) True for true and false positives.
        recalls: the recalls at which precision is read, ascending.
        objects: (resamples,) number of objects.
    """
    hits = np.flatnonzero(right)
    seen = np.cumsum(np.where(counted, drawn, 0), axis=1)[:, hits]
    true = np.cumsum(drawn[:, hits], axis=1)
    precision = np.where(drawn[:, hits] > 0, true / np.maximum(seen, 1), 0.0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(recalls, true / objects[:, None], side="right")
    reached[true == 0] = 0  # a recall of 0 is reached by the first detection that is there
    first = np.diff(reached, axis=1, prepend=0)
    return cast(Floats, (envelope * first).sum(axis=1) / len(recalls))
