"""Calibration images: annotated images of a split, through the network's stored preprocessing."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.fingerprint import fingerprint
from detector.export.proof.comparison import InputBatch
from detector.model.detector import Detector
from detector.runtime.backends.certificate import CalibrationSet
from detector.settings.export import ExportedFileSettings
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError

logger = logging.getLogger(__name__)

SEED = 0
"""Seed of the order in which images are chosen: the same ones on each call."""


@dataclass(frozen=True)
class Calibration:
    """Images that the ranges of activations are measured on.

    Attributes:
        about: the set, for the certificate.
        samples: its images.
    """

    about: CalibrationSet
    samples: tuple[Sample, ...]

    def batches(self, preprocess: Preprocess, batch: int) -> CalibrationBatches:
        """Return the images as network inputs, in batches of one size."""
        return CalibrationBatches(self.samples, preprocess, batch)


class CalibrationBatches(Sequence[InputBatch]):
    """Normalized (b, 3, h, w) batches, read from the images' files each time they are asked for.

    All have the same number of images: the first images fill up the last batch.

    Args:
        samples: the images.
        preprocess: the network's preprocessing; no augmentation.
        batch: images per batch.
    """

    def __init__(self, samples: Sequence[Sample], preprocess: Preprocess, batch: int) -> None:
        self._samples = samples
        self._preprocess = preprocess
        self._batch = batch

    def __len__(self) -> int:
        return math.ceil(len(self._samples) / self._batch)

    def __getitem__(self, index: int) -> InputBatch:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        numbers = range(index * self._batch, (index + 1) * self._batch)
        chosen = [self._samples[number % len(self._samples)] for number in numbers]
        fitted = [self._preprocess.fit(sample.read_image())[0] for sample in chosen]
        return self._preprocess.normalize(fitted)

    def __iter__(self) -> Iterator[InputBatch]:
        return (self[index] for index in range(len(self)))


def open_calibration(settings: ExportedFileSettings, model: Detector) -> Calibration:
    """Read a split and choose images of it, in which every class of the split is present.

    Args:
        settings: ``calibrate``, ``calibration_split``, ``calibration_images``; ``data_root`` is
            applied where ``calibrate`` is the data set of ``data``.
        model: the network, whose class names and task the data must suit.

    Raises:
        DetectorError: see :func:`open_dataset`; more images are needed for all classes.
    """
    assert settings.calibrate is not None
    dataset = open_dataset(
        settings.calibrate,
        settings.calibration_split,
        settings.data_root if settings.calibrate == settings.data else None,
        model.names,
        skip_bad=settings.skip_bad,
        max_unlabeled=settings.max_unlabeled,
    )
    dataset.check_task(model.task)
    chosen = choose(dataset, settings.calibration_images)
    classes = len({number for sample in chosen for number in _classes(sample)})
    asked = settings.calibration_images
    fewer = f", which has no more ({asked} were asked for)" if len(chosen) < asked else ""
    logger.info(
        f"calibration: {len(chosen)} images of split {dataset.split!r}{fewer}, "
        f"with all of its {classes} classes"
    )
    about = CalibrationSet(
        data=settings.calibrate,
        split=dataset.split,
        images=len(chosen),
        classes=classes,
        fingerprint=fingerprint(replace(dataset, samples=chosen)),
    )
    return Calibration(about, chosen)


def choose(dataset: DetectionDataset, count: int) -> tuple[Sample, ...]:
    """Return images in which every class of a split is present, the same ones on each call.

    Images are taken in a shuffled order: first each one that has a class which none before it has,
    then the others.

    Args:
        dataset: the split.
        count: number of images; all of them if the split has fewer.

    Raises:
        DetectorError: the classes need more images.
    """
    shuffled = np.random.default_rng(SEED).permutation(len(dataset.samples))
    samples = [dataset.samples[number] for number in shuffled]
    seen: set[int] = set()
    new: list[Sample] = []
    others: list[Sample] = []
    for sample in samples:
        (others if _classes(sample) <= seen else new).append(sample)
        seen |= _classes(sample)
    if len(new) > count:
        raise DetectorError(
            f"--calibration-images {count}: the {len(seen)} classes of split {dataset.split!r} "
            f"need {len(new)} images; give at least that many"
        )
    return tuple((new + others)[:count])


def _classes(sample: Sample) -> set[int]:
    """Return the numbers of the classes in an image; crowd regions do not count."""
    return set(sample.class_ids[~sample.crowd].tolist())
