"""The labelled images that a network is measured on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from detector.data.dataset import DetectionDataset, open_dataset
from detector.evaluation.run import Evaluator, Metrics, choose_metric, evaluate
from detector.runtime.backends.backend import Backend
from detector.settings import BUILT_IN_DATA, DataSettings, NmsSettings, TaskName

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSet:
    """A split, and the evaluator that holds its truth.

    Attributes:
        data: what the data are called.
        split: the split's name.
        dataset: its images and labels.
        evaluator: compares predictions with them.
    """

    data: str
    split: str
    dataset: DetectionDataset
    evaluator: Evaluator[Any]

    def measure(
        self, backend: Backend, eval_nms: NmsSettings, batch: int, parallel: int = 1
    ) -> Metrics:
        """Predict for every image and compare."""
        self.evaluator.reset()
        samples = self.dataset.samples
        metrics: Metrics = evaluate(backend, samples, self.evaluator, eval_nms, batch, parallel)
        return metrics


class HasTaskAndNames(Protocol):
    """A network, whatever runs it."""

    @property
    def task(self) -> TaskName:
        """What it gives for an image."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        ...


def open_evaluation_set(
    settings: DataSettings, split: str, network: HasTaskAndNames, metric: str | None = None
) -> EvaluationSet:
    """Read and check a split for a network, and log what was found.

    Raises:
        DetectorError: as :func:`open_dataset`; the metric is not for what the network gives.
    """
    make_evaluator = choose_metric(network.task, metric)
    data = settings.data or BUILT_IN_DATA
    dataset = open_dataset(
        data,
        split,
        data_root=settings.data_root,
        names=network.names,
        skip_bad=settings.skip_bad,
        limit=settings.limit,
    )
    for line in dataset.report:
        logger.info(line)
    dataset.check_task(network.task)
    image_ids = [sample.image_id for sample in dataset.samples]
    evaluator = make_evaluator(dataset.ground_truth(), dataset.category_ids, image_ids)
    return EvaluationSet(data, split, dataset, evaluator)
