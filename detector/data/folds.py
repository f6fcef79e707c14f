"""Parts of a split for cross-validation: each image is held out once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detector.data.dataset import DetectionDataset
from detector.utils.errors import DetectorError


def fold_numbers(images: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Return for each image in which fold it is held out, from 1: drawn, and as even as can be.

    >>> np.bincount(fold_numbers(7, 3, seed=0))[1:].tolist()
    [3, 2, 2]
    """
    numbers = np.arange(images) % folds + 1
    return np.random.default_rng(seed).permutation(numbers)


def split_fold(
    dataset: DetectionDataset, folds: int, fold: int, seed: int
) -> tuple[DetectionDataset, DetectionDataset]:
    """Split a data set into the images to train on and those that a fold holds out.

    Args:
        dataset: all images.
        folds: number of folds.
        fold: number of the fold, from 1.
        seed: of the draw.

    Raises:
        DetectorError: there are fewer images than folds.
    """
    if len(dataset) < folds:
        raise DetectorError(
            f"--folds {folds}: split {dataset.split!r} has {len(dataset)} images, expected as many "
            "as folds at least"
        )
    held_out = fold_numbers(len(dataset), folds, seed) == fold
    return _part(dataset, ~held_out), _part(dataset, held_out)


def _part(dataset: DetectionDataset, chosen: NDArray[np.bool_]) -> DetectionDataset:
    samples = tuple(dataset.samples[index] for index in np.flatnonzero(chosen))
    image_ids = {sample.image_id for sample in samples}
    original = tuple(s for s in dataset.original.samples if s.image_id in image_ids)
    return replace(dataset, samples=samples, original=replace(dataset.original, samples=original))
