"""Validation: the prediction path, unchanged, over labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from detector.evaluation.coco import CocoEvaluator, CocoFigures
from detector.opencv import read_image
from detector.runtime.backend import Backend
from detector.runtime.nms import Nms
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame
from detector.settings import NmsSettings
from detector.structures import Sample


def evaluate(
    backend: Backend,
    samples: Sequence[Sample],
    evaluator: CocoEvaluator,
    settings: NmsSettings,
    batch: int,
    nms: Nms,
) -> CocoFigures:
    """Detect on every image, at its original size, and compare with the truth."""
    pipeline = Pipeline(backend, settings, batch, nms)
    results = pipeline(_frames(samples))
    for sample, result in zip(samples, results, strict=True):
        evaluator.add(sample.image_id, result.detections)
    return evaluator.compute()


def _frames(samples: Sequence[Sample]) -> Iterator[Frame]:
    for sample in samples:
        yield Frame(sample.path.stem, sample.path, 0, read_image(sample.path))
