"""Facts that settings are chosen from: counts, sizes of images and objects, the network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from detector.data.balance import epoch_length, repeat_factors
from detector.data.checks.sizes import shorter_sides
from detector.data.dataset import DetectionDataset
from detector.engine.tasks import task_of
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.utils import system

SMALL_SHARE = 0.05
"""Share of the objects that may be too small for an input: labels have outliers, too."""

UNIT = 1000
"""Side of the input that objects are measured in, pixels; any would do."""


@dataclass(frozen=True)
class Objects:
    """Shorter sides of the objects of a split.

    Attributes:
        median_px: the median, pixels of the images.
        median: the median, as a share of the side of a square input.
        small: the side that all but ``SMALL_SHARE`` of them reach, as such a share.
        image_wh: width and height of most images, pixels.
    """

    median_px: float
    median: float
    small: float
    image_wh: tuple[int, int]


@dataclass(frozen=True)
class Facts:
    """Summary of data and network, from which settings follow.

    Attributes:
        images: of an epoch; tiles and repeated ones count.
        objects: their sizes; None for a classifier.
        size_hw: input size of the start weights, or of the model file, pixels.
        max_stride: divisor of input sides.
        cell: side of a cell of the head's finest features, pixels.
        is_fixed: whether the network takes inputs of its own size only.
        tiles: side of the tiles that images are cut into, if they are.
        has_weights: whether training starts from trained weights.
        qat: whether it is training for INT8.
        recipe: preset that the head needs; None if it takes those for most heads.
        minutes: time for the training, if that decides on the epochs.
        augments: whether images are changed at random.
    """

    images: int
    objects: Objects | None
    size_hw: tuple[int, int]
    max_stride: int
    cell: int
    is_fixed: bool = False
    tiles: int | None = None
    has_weights: bool = True
    qat: bool = False
    recipe: str | None = None
    minutes: float | None = None
    augments: bool = True
    processes: int = 1


def facts_of(settings: TrainSettings, model: Detector, dataset: DetectionDataset) -> Facts:
    """Return the facts about a training; ``model`` has the input size of its weights or its file.

    Args:
        settings: those that were given, and defaults.
        model: with start weights.
        dataset: images to train on, with at least one object.
    """
    detects = model.task == "detect"
    return Facts(
        images=epoch_length(repeat_factors(dataset.samples, settings.balance_classes)),
        objects=_objects(model, dataset) if detects else None,
        size_hw=model.preprocess.size_hw,
        max_stride=model.max_stride,
        cell=min(model.strides) if detects else model.max_stride,
        is_fixed=model.fixed_size_hw is not None,
        tiles=settings.tiles,
        has_weights=settings.weights is not None,
        qat=settings.qat,
        recipe=task_of(type(model.head)).recipe,
        minutes=settings.minutes,
        augments=settings.augment,
        processes=system.world_size(),
    )


def _objects(model: Detector, dataset: DetectionDataset) -> Objects:
    in_image, in_input = shorter_sides(dataset.samples, model.preprocess.with_size((UNIT, UNIT)))
    sizes = Counter(sample.size_hw for sample in dataset.samples)
    height, width = sizes.most_common(1)[0][0]
    return Objects(
        median_px=float(np.median(in_image)),
        median=float(np.median(in_input)) / UNIT,
        small=float(np.quantile(in_input, SMALL_SHARE)) / UNIT,
        image_wh=(width, height),
    )
