"""Validation: the prediction path, unchanged, over labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.voc import VocEvaluator
from detector.runtime.backends.backend import Backend
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame
from detector.settings import NmsSettings, TaskName
from detector.structures.samples import Sample
from detector.utils import system
from detector.utils.collectives import all_gather
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image


class Metrics(Protocol):
    """How good a model is on some images."""

    @property
    def summary(self) -> dict[str, float]:
        """Metrics of everything together; −1 where there is no truth to measure on."""
        ...

    @property
    def per_class(self) -> dict[str, float]:
        """One metric by class name."""
        ...

    @property
    def title(self) -> str:
        """What the summary is called."""
        ...

    @property
    def per_class_title(self) -> str:
        """What the metric of a class is called."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ...


Metrics_co = TypeVar("Metrics_co", bound=Metrics, covariant=True)


class Evaluator(Protocol[Metrics_co]):
    """Collects what was found in each image and compares it with the truth.

    Attributes:
        results: what was found, as COCO has it.
    """

    results: list[dict[str, Any]]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics in the summary."""
        ...

    def reset(self) -> None:
        """Forget all results; the truth stays."""
        ...

    def add(self, image_id: int, found: Any, /) -> None:
        """Take the prediction for one image."""
        ...

    def compute(self) -> Metrics_co:
        """Compare everything that was added with the truth."""
        ...


EVALUATORS: dict[TaskName, dict[str, Callable[..., Evaluator[Any]]]] = {
    "detect": {
        "coco": CocoEvaluator,
        "voc07": partial(VocEvaluator, metric="voc07"),
        "voc10": partial(VocEvaluator, metric="voc10"),
    },
    "classify": {"accuracy": ClassificationEvaluator},
}
"""By task evaluators by name, the usual one first; each takes the truth, the category ids by class,
and the image ids."""


def choose_metric(task: TaskName, name: str | None) -> Callable[..., Evaluator[Any]]:
    """The evaluator of that name, or the usual one of the task.

    Raises:
        DetectorError: it measures something else.
    """
    known = EVALUATORS[task]
    if name is not None and name not in known:
        raise DetectorError(
            f"--metric {name} is not for what the network gives; expected {' or '.join(known)}"
        )
    return known[name] if name is not None else next(iter(known.values()))


def evaluate(
    backend: Backend,
    samples: Sequence[Sample],
    evaluator: Evaluator[Metrics_co],
    settings: NmsSettings,
    batch: int,
    parallel: int = 1,
) -> Metrics_co:
    """Predict for every image, at its original size, and compare with the truth.

    Several processes share the images, and each one gets the metrics of all of them.
    """
    pipeline = Pipeline(backend, settings, batch, parallel)
    share = range(system.rank(), len(samples), system.world_size())
    results = pipeline(_frames([samples[index] for index in share]))
    found = {i: result.prediction for i, result in zip(share, results, strict=True)}
    merged = {index: one for part in all_gather(found) for index, one in part.items()}
    for index, sample in enumerate(samples):
        evaluator.add(sample.image_id, merged[index])
    return evaluator.compute()


def _frames(samples: Sequence[Sample]) -> Iterator[Frame]:
    for sample in samples:
        yield Frame(sample.path.stem, sample.path, 0, read_image(sample.path))
