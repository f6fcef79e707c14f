"""Evaluation of a network: the ordinary prediction pipeline, run on an evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.faster_coco import import_faster
from detector.evaluation.intervals import Resampled, Weights
from detector.evaluation.voc import VocEvaluator
from detector.runtime.backends.backend import Backend
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame
from detector.settings.common import TileSettings
from detector.settings.nms import NmsSettings
from detector.settings.values import CocoLibrary, TaskName
from detector.structures.samples import Sample
from detector.utils import system
from detector.utils.collectives import all_gather
from detector.utils.errors import DetectorError


class Metrics(Protocol):
    """Metrics of a model on an evaluation set."""

    @property
    def summary(self) -> dict[str, float]:
        """Metrics over all classes, by name; −1 if there is no ground truth to measure on."""
        ...

    @property
    def per_class(self) -> dict[str, float]:
        """Main metric of each class, by class name."""
        ...

    @property
    def title(self) -> str:
        """Title of the summary."""
        ...

    @property
    def per_class_title(self) -> str:
        """Name of the metric in ``per_class``."""
        ...

    @property
    def note(self) -> str:
        """Line on what the metrics leave out, or an empty text."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        ...


Metrics_co = TypeVar("Metrics_co", bound=Metrics, covariant=True)


class Evaluator(Protocol[Metrics_co]):
    """Collector of predictions that compares them with the ground truth.

    Attributes:
        results: predictions in COCO's results format.
    """

    results: list[dict[str, Any]]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics in the summary, the main one first."""
        ...

    def reset(self) -> None:
        """Remove all results; keep the ground truth."""
        ...

    def add(self, image_id: int, found: Any, /) -> None:
        """Add the prediction for one image."""
        ...

    def compute(self) -> Metrics_co:
        """Compare all results with the ground truth."""
        ...

    def resampled(self, weights: Weights) -> Resampled:
        """Return metrics of the results on resamples of the images.

        Args:
            weights: (resamples, images) how often each image was drawn.
        """
        ...


EVALUATORS: dict[TaskName, dict[str, Callable[..., Evaluator[Any]]]] = {
    "detect": {
        "coco": CocoEvaluator,
        "voc07": partial(VocEvaluator, metric="voc07"),
        "voc10": partial(VocEvaluator, metric="voc10"),
    },
    "classify": {"accuracy": ClassificationEvaluator},
}
"""Evaluators by task and name of the metric, the task's default first.

Each is called with the ground truth, the category id of each class, and the image ids.
"""


def choose_metric(
    task: TaskName, name: str | None, library: CocoLibrary = "pycocotools"
) -> Callable[..., Evaluator[Any]]:
    """Return the evaluator for a metric, or the task's default one.

    Raises:
        DetectorError: the metric does not belong to the task, or the library does not compute it.
    """
    known = EVALUATORS[task]
    if name is not None and name not in known:
        raise DetectorError(
            f"--metric {name} is not a metric of task {task!r}; expected {' or '.join(known)}"
        )
    return by_library(known[name] if name is not None else next(iter(known.values())), library)


def by_library(
    make_evaluator: Callable[..., Evaluator[Any]], library: CocoLibrary
) -> Callable[..., Evaluator[Any]]:
    """Return the evaluator whose COCO AP is computed by a library.

    Args:
        make_evaluator: as in :data:`EVALUATORS`.
        library: name of the library; the default one goes with every evaluator.

    Raises:
        DetectorError: the evaluator is not COCO's, or the library is not installed.
    """
    if library == "pycocotools":
        return make_evaluator
    if make_evaluator is not CocoEvaluator:
        raise DetectorError(f"--evaluator {library} computes COCO AP alone; omit it")
    check_library(library)
    return partial(CocoEvaluator, library=library)


def check_library(library: CocoLibrary) -> None:
    """Raise DetectorError unless the library is installed."""
    if library == "faster-coco-eval":
        import_faster()


def evaluate(
    backend: Backend,
    samples: Sequence[Sample],
    evaluator: Evaluator[Metrics_co],
    settings: NmsSettings,
    batch: int,
    parallel: int = 1,
    *,
    tiling: TileSettings | None = None,
) -> Metrics_co:
    """Predict for every image and compare the results with the ground truth.

    Boxes are compared in pixels of the original image. Distributed processes share the images; each
    one returns the metrics over all of them.

    Args:
        backend: the network.
        samples: images of the evaluation set.
        evaluator: evaluator without results.
        settings: NMS settings.
        batch: images per forward pass.
        parallel: number of batches that the network processes at the same time.
        tiling: tiles that the images are cut into; the boxes are those of whole images all the
            same. Default: none.
    """
    pipeline = Pipeline(backend, settings, batch, parallel, tiling)
    share = range(system.rank(), len(samples), system.world_size())
    results = pipeline(frames_of([samples[index] for index in share]))
    found = {i: result.prediction for i, result in zip(share, results, strict=True)}
    merged = {index: one for part in all_gather(found) for index, one in part.items()}
    for index, sample in enumerate(samples):
        evaluator.add(sample.image_id, merged[index])
    return evaluator.compute()


def frames_of(samples: Sequence[Sample]) -> Iterator[Frame]:
    """Read the images of samples, one after the other."""
    for sample in samples:
        yield Frame(sample.path.stem, sample.path, 0, sample.read_image())
