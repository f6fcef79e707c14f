"""Class-balanced sampling: images of rare classes are repeated within an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.structures.samples import Sample


def repeat_factors(samples: Sequence[Sample], threshold: float) -> NDArray[np.float64]:
    """Return how often an epoch shows each image (LVIS, arXiv 1908.03195, section 4.2).

    A class that occurs in a fraction f of the images has the factor max(1, √(t / f)). An image has
    the largest factor of its classes, or 1 without objects. Crowd regions do not count.

    Args:
        samples: n annotated images.
        threshold: t; classes in more than this fraction of the images are not repeated.

    Returns:
        (n,), 1 or more.
    """
    seen = [np.unique(sample.class_ids[~sample.crowd]) for sample in samples]
    counts = np.bincount(np.concatenate(seen)) if seen else np.zeros(0)
    of_class = np.sqrt(threshold * len(samples) / np.maximum(counts, 1)).clip(min=1)
    return np.array([of_class[classes].max(initial=1) for classes in seen])


def repeat_counts(factors: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Round repeat factors at random to whole counts whose expected values are the factors.

    The sum is the same for every draw, so all epochs have one length: the sum of the factors,
    rounded up. This is systematic sampling: the factors are laid end to end as segments of a line,
    and each count is the number of marks u, u + 1, u + 2, … in the image's segment.

    Args:
        factors: (n,), each 1 or more; scaled up so that their sum is a whole number.
        rng: draws u and the order of the segments.

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
    """Return the number of images in an epoch: the sum of the repeat factors, rounded up."""
    return int(np.ceil(factors.sum().round(6)))
