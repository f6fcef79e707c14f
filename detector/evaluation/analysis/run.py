"""Analysis of an evaluation set: the images' names and brightness beside the results."""

from __future__ import annotations

from collections.abc import Sequence

from detector.evaluation.analysis.analysis import Analysis, analyse
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.evaluation_set import EvaluationSet
from detector.runtime.backends.backend import Backend
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image


def check_analysable(backend: Backend, metric: str | None) -> None:
    """Raise unless the network is a detector, and the metric COCO's.

    Raises:
        DetectorError: it is a classifier, or another metric is asked for.
    """
    if backend.task != "detect":
        raise DetectorError("analyse is for detectors, and this network classifies: use val")
    if metric not in (None, "coco"):
        raise DetectorError(f"--metric {metric}: analyse matches boxes as COCO does; omit it")


def analyse_results(evaluation_set: EvaluationSet, confidence: float) -> Analysis:
    """Analyse the results that the evaluation set's evaluator has.

    Args:
        evaluation_set: measured before, by COCO AP.
        confidence: lowest score of a box that a person is shown.
    """
    evaluator, samples = evaluation_set.evaluator, evaluation_set.dataset.samples
    if not isinstance(evaluator, CocoEvaluator):
        raise DetectorError("analyse matches boxes as COCO does")
    return analyse(evaluator, confidence, brightness(samples), evaluation_set.file_names())


def brightness(samples: Sequence[Sample]) -> dict[int, float]:
    """Return the mean of each image's pixels over all channels, 0 to 255, by its id."""
    return {sample.image_id: float(read_image(sample.path).mean()) for sample in samples}
