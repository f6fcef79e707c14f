"""The evaluation set: a split of a data set with the evaluator of its ground truth."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.formats.names import match_names
from detector.evaluation.intervals import Resampled, Weights
from detector.evaluation.run import Evaluator, Metrics, choose_metric, evaluate
from detector.runtime.backends.backend import Backend
from detector.settings.common import DataSettings, TileSettings
from detector.settings.nms import NmsSettings
from detector.settings.values import CocoLibrary, TaskName

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSet:
    """A split of a data set, with the evaluator of its ground truth.

    Attributes:
        data: name of the data set.
        split: name of the split.
        dataset: images and labels.
        evaluator: compares predictions with the labels.
        metric: name of its metric; None: the task's default one.
        library: library that computes COCO AP.
    """

    data: str
    split: str
    dataset: DetectionDataset
    evaluator: Evaluator[Any]
    metric: str | None = None
    library: CocoLibrary = "pycocotools"

    def measure(
        self,
        backend: Backend,
        eval_nms: NmsSettings,
        batch: int,
        parallel: int = 1,
        tiling: TileSettings | None = None,
    ) -> Metrics:
        """Predict for every image and return the metrics.

        Args:
            backend: the network.
            eval_nms: NMS settings.
            batch: images per forward pass.
            parallel: number of batches that the network processes at the same time.
            tiling: tiles that the images are cut into; default: none.
        """
        self.evaluator.reset()
        samples = self.dataset.samples
        metrics: Metrics = evaluate(
            backend, samples, self.evaluator, eval_nms, batch, parallel, tiling=tiling
        )
        return metrics

    def numbered_as(self, names: Sequence[str]) -> EvaluationSet:
        """Return the same images for a network whose classes may have another order.

        Args:
            names: the names of ``dataset`` in any order, as :func:`match_names` matches them.
        """
        matches = match_names(names, self.dataset.names)
        ids = [self.dataset.category_ids[i] for i in matches if i is not None]
        dataset = replace(self.dataset, names=tuple(names), category_ids=tuple(ids))
        evaluator = _evaluator(dataset, self.metric, self.library)
        return replace(self, dataset=dataset, evaluator=evaluator)

    def file_names(self) -> dict[int, str]:
        """Return the path of each image below the folder that holds all of them, by its id."""
        paths = {s.image_id: os.path.abspath(s.path) for s in self.dataset.samples}
        folder = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
        return {number: Path(path).relative_to(folder).as_posix() for number, path in paths.items()}

    def named_results(self) -> list[dict[str, Any]]:
        """Return the predictions in COCO's results format, each with its image's file name."""
        names = self.file_names()
        return [{**one, "file_name": names[one["image_id"]]} for one in self.evaluator.results]

    def resampled(self, weights: Weights) -> Resampled:
        """Return metrics of the network measured last on resamples of the images.

        Args:
            weights: (resamples, images) how often each image was drawn.
        """
        resampled: Resampled = self.evaluator.resampled(weights)
        return resampled


class HasTaskAndNames(Protocol):
    """Any form of a network with a task and class names."""

    @property
    def task(self) -> TaskName:
        """Task of the network, which decides what its outputs are."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, in the order of the class ids."""
        ...


def open_evaluation_set(
    settings: DataSettings,
    split: str,
    network: HasTaskAndNames | None,
    metric: str | None = None,
    library: CocoLibrary = "pycocotools",
) -> EvaluationSet:
    """Read and check a split for a network, and log a report about the data.

    Args:
        settings: data set, and how to read it.
        split: name of the split.
        network: network to evaluate; its class names are matched with those of the data. None
            leaves classes and task to the data.
        metric: name of the metric; default: the task's default metric.
        library: library that computes COCO AP.

    Raises:
        DetectorError: see :func:`open_dataset`; no data set is given; the metric does not belong to
            the network's task, or the library does not compute it.
    """
    if network is not None:
        choose_metric(network.task, metric, library)  # before the data are read
    dataset = open_dataset(
        settings.named_data("measure on"),
        split,
        data_root=settings.data_root,
        names=None if network is None else network.names,
        skip_bad=settings.skip_bad,
        max_unlabeled=settings.max_unlabeled,
        limit=settings.limit,
    )
    for line in dataset.report:
        logger.info(line)
    if network is not None:
        dataset.check_task(network.task)
    return evaluation_set_of(dataset, str(settings.data), metric, library)


def evaluation_set_of(
    dataset: DetectionDataset,
    data: str,
    metric: str | None = None,
    library: CocoLibrary = "pycocotools",
) -> EvaluationSet:
    """Return the evaluation set of images that were read before.

    Args:
        dataset: the images.
        data: name of the data set.
        metric: name of the metric; default: the task's default metric.
        library: library that computes COCO AP.
    """
    evaluator = _evaluator(dataset, metric, library)
    return EvaluationSet(data, dataset.split, dataset, evaluator, metric, library)


def _evaluator(
    dataset: DetectionDataset, metric: str | None, library: CocoLibrary
) -> Evaluator[Any]:
    """Return an evaluator of a data set's ground truth."""
    image_ids = [sample.image_id for sample in dataset.samples]
    make_evaluator = choose_metric(dataset.task, metric, library)
    return make_evaluator(dataset.ground_truth(), dataset.category_ids, image_ids)
