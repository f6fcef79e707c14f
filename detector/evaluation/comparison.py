"""Comparison of models on the same images: metrics with intervals, paired differences, speed, size.

A model is a network in any format, or a file of predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detector.evaluation.bootstrap import BootstrapMetrics, with_intervals
from detector.evaluation.contenders import Contender, networks_of
from detector.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from detector.evaluation.intervals import Resampled, draw
from detector.evaluation.paired import Difference, differences
from detector.evaluation.returned import score_results
from detector.evaluation.run import frames_of
from detector.evaluation.speed import TIMED_IMAGES, ms_per_image
from detector.runtime.pipeline import Pipeline
from detector.settings.evaluate import ComparisonSettings


@dataclass(frozen=True)
class ComparedModel:
    """One model of a comparison.

    Attributes:
        letter: A, B, …
        name: its file.
        metrics: with intervals.
        ms_per_image: from decoded image to result, median; None for predictions.
        size_mb: size of its files, millions of bytes; None without a network file.
        is_copy: True if its predictions are those of the first model.
        differences: from the first model, by metric; empty for the first.
        class_differences: from the first model, of the main metric by class, largest first.
    """

    letter: str
    name: str
    metrics: BootstrapMetrics
    ms_per_image: float | None
    size_mb: float | None
    is_copy: bool
    differences: dict[str, Difference]
    class_differences: dict[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        from_first = {name: one.to_dict() for name, one in self.differences.items()}
        per_class = {name: one.to_dict() for name, one in self.class_differences.items()}
        return {
            "letter": self.letter,
            "name": self.name,
            "metrics": self.metrics.to_dict(),
            "ms_per_image": self.ms_per_image,
            "size_mb": self.size_mb,
            "same_predictions_as_first": self.is_copy,
            "difference_from_first": {**from_first, "per_class": per_class} if from_first else None,
        }


@dataclass(frozen=True)
class Comparison:
    """Models compared on the same images.

    Attributes:
        data: name of the data set.
        split: name of the split.
        images: number of images.
        models: the models, in the order given.
    """

    data: str
    split: str
    images: int
    models: tuple[ComparedModel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        models = [model.to_dict() for model in self.models]
        return {"data": self.data, "split": self.split, "images": self.images, "models": models}


@dataclass(frozen=True)
class _Measured:
    """Metrics of one model, on all images and on resamples, and its predictions."""

    metrics: BootstrapMetrics
    resampled: Resampled
    results: list[dict[str, Any]]


def compare_models(
    models: Sequence[Contender], settings: ComparisonSettings, parallel: int = 1
) -> Comparison:
    """Measure all models on the same images and resamples.

    Args:
        models: two or more; the first is the one that the others are compared with.
        settings: data, NMS settings, number and seed of the resamples.
        parallel: number of batches that a network processes at the same time.

    Raises:
        DetectorError: classes or tasks differ, predictions are of other images, the data cannot be
            read.
    """
    backends = networks_of(models)
    network = backends[0] if backends else None
    evaluation_set = open_evaluation_set(
        settings, settings.split, network, settings.metric, settings.evaluator
    )
    found = [_measure(model, evaluation_set, settings, parallel) for model in models]
    pipelines = [
        Pipeline(one, settings.nms(one.eval_nms), 1, parallel, settings) for one in backends
    ]
    frames = list(frames_of(evaluation_set.dataset.samples[:TIMED_IMAGES]))
    times = iter(ms_per_image(pipelines, frames))
    compared = [
        _compared(index, model, found, None if model.backend is None else next(times))
        for index, model in enumerate(models)
    ]
    images = len(evaluation_set.dataset.samples)
    return Comparison(evaluation_set.data, evaluation_set.split, images, tuple(compared))


def _measure(
    model: Contender, evaluation_set: EvaluationSet, settings: ComparisonSettings, parallel: int
) -> _Measured:
    dataset = evaluation_set.dataset
    if model.backend is not None:
        evaluation_set = evaluation_set.numbered_as(model.backend.names)
        nms = settings.nms(model.backend.eval_nms)
        metrics = evaluation_set.measure(model.backend, nms, settings.batch, parallel, settings)
    else:
        metrics = score_results(model.file, evaluation_set)
    weights = draw(len(dataset.samples), settings.bootstrap, settings.bootstrap_seed)
    resampled = evaluation_set.resampled(weights)
    bootstrap = with_intervals(metrics, resampled, settings.bootstrap_seed)
    return _Measured(bootstrap, resampled, evaluation_set.evaluator.results)


def _compared(
    index: int, model: Contender, found: Sequence[_Measured], ms: float | None
) -> ComparedModel:
    first, own = found[0], found[index]
    overall: dict[str, Difference] = {}
    per_class: dict[str, Difference] = {}
    if index:
        overall = differences(
            first.metrics.summary,
            own.metrics.summary,
            first.resampled.summary,
            own.resampled.summary,
        )
        per_class = differences(
            first.metrics.per_class,
            own.metrics.per_class,
            first.resampled.per_class,
            own.resampled.per_class,
        )
    return ComparedModel(
        letter=chr(ord("A") + index),
        name=model.name,
        metrics=own.metrics,
        ms_per_image=ms,
        size_mb=model.size_mb(),
        is_copy=bool(index) and own.results == first.results,
        differences=overall,
        class_differences=dict(sorted(per_class.items(), key=lambda one: -abs(one[1].value or 0))),
    )
