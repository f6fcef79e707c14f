"""Validation: the prediction path, unchanged, over labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from detector.detections import Detections
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.voc import VocEvaluator
from detector.opencv import read_image
from detector.runtime.backend import Backend
from detector.runtime.nms import Nms
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame
from detector.settings import NmsSettings
from detector.structures import Sample

Figures_co = TypeVar("Figures_co", covariant=True)


class Evaluator(Protocol[Figures_co]):
    """Collects the boxes of each image and compares them with the truth."""

    results: list[dict[str, Any]]

    def add(self, image_id: int, detections: Detections) -> None:
        """Take the boxes of one image."""
        ...

    def compute(self) -> Figures_co:
        """Compare everything that was added with the truth."""
        ...


METRICS: dict[str, Callable[..., Evaluator[Any]]] = {
    "coco": CocoEvaluator,
    "voc07": partial(VocEvaluator, metric="voc07"),
    "voc10": partial(VocEvaluator, metric="voc10"),
}
"""Evaluators by name; each takes the truth, the category ids by class, and the image ids."""


def evaluate(
    backend: Backend,
    samples: Sequence[Sample],
    evaluator: Evaluator[Figures_co],
    settings: NmsSettings,
    batch: int,
    nms: Nms,
) -> Figures_co:
    """Detect on every image, at its original size, and compare with the truth."""
    pipeline = Pipeline(backend, settings, batch, nms)
    results = pipeline(_frames(samples))
    for sample, result in zip(samples, results, strict=True):
        evaluator.add(sample.image_id, result.detections)
    return evaluator.compute()


def _frames(samples: Sequence[Sample]) -> Iterator[Frame]:
    for sample in samples:
        yield Frame(sample.path.stem, sample.path, 0, read_image(sample.path))
