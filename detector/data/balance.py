"""Class-balanced sampling: images of rare classes are repeated within an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.structures.samples import Sample


def repeat_factors(samples: Sequence[Sample], threshold: float) -> NDArray[np.float64]:
    """How often an epoch shows each image (LVIS, arXiv 1908.03195, section 4.2).

    A class c that the fraction f of the images shows has the factor max(1, √(t / f)); an image
    has the largest one of its classes, and 1 without objects. Crowd regions do not count.

    Args:
        samples: n labelled images.
        threshold: t; classes in more than this fraction of the images are not repeated.

    Returns:
        (n,), 1 or more.
    """
    seen = [np.unique(sample.class_ids[~sample.crowd]) for sample in samples]
    counts = np.bincount(np.concatenate(seen)) if seen else np.zeros(0)
    of_class = np.sqrt(threshold * len(samples) / np.maximum(counts, 1)).clip(min=1)
    return np.array([of_class[classes].max(initial=1) for classes in seen])


def repeats(factors: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Round the factors at random, to counts that have the factors as their means.

    The sum is the same for every draw, so that all epochs are of one length: the sum of the
    factors, rounded up. (Systematic sampling: the counts are how many of the marks u, u + 1,
    u + 2, … lie in each image's stretch of a line.)

    Args:
        factors: (n,), 1 or more; raised in proportion until their sum is whole.
        rng: draws u and the images' order on the line.

    Returns:
        (n,), each 1 or more.
    """
    total = epoch_length(factors)
    order = rng.permutation(len(factors))
    ends = np.cumsum(factors[order]) * (total / factors.sum())
    ends[-1:] = total
    marks = np.floor(ends + rng.random()).astype(np.int64)
    counts = np.empty(len(factors), np.int64)
    counts[order] = np.diff(marks, prepend=0)
    return counts


def epoch_length(factors: NDArray[np.float64]) -> int:
    """Images of an epoch."""
    return int(np.ceil(factors.sum().round(6)))
