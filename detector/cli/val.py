"""``val``: AP of a weights file on a split, COCO's or Pascal VOC's; a classifier's accuracy."""

from __future__ import annotations

import json
from typing import Any

from tabulate import tabulate

from detector import processes
from detector.cli.unused import note_unused
from detector.collectives import joined
from detector.config import write_text
from detector.data.dataset import open_dataset
from detector.engine.recipe import BUILT_IN_DATA
from detector.evaluation.run import Figures, choose_metric, evaluate
from detector.predict import open_backend
from detector.settings import ValSettings


def val(settings: ValSettings) -> dict[str, Any]:
    """Measure, print, and return the figures, also those per class.

    Processes that ``torchrun`` starts share the images.
    """
    with joined():
        return _val(settings)


def _val(settings: ValSettings) -> dict[str, Any]:
    backend, nms = open_backend(settings.weights, settings)
    metric = choose_metric(backend.task, settings.metric)
    note_unused(settings, backend)
    dataset = open_dataset(
        settings.data or BUILT_IN_DATA,
        settings.split,
        data_root=settings.data_root,
        names=backend.names,
        skip_bad=settings.skip_bad,
        limit=settings.limit,
    )
    print(*dataset.report, sep="\n")
    dataset.check_task(backend.task)
    evaluator = metric(
        dataset.ground_truth(), dataset.category_ids, [s.image_id for s in dataset.samples]
    )
    thresholds = settings.nms(backend.measuring)
    figures: Figures = evaluate(
        backend, dataset.samples, evaluator, thresholds, settings.batch, nms
    )
    if settings.predictions is not None and processes.is_main():
        write_text(settings.predictions, json.dumps(evaluator.results))
    print(report(figures, len(dataset.samples)))
    return figures.to_dict()


def report(figures: Figures, images: int) -> str:
    """The figures as text; a dash where there is no truth to measure on."""
    summary = tabulate(
        [[_shown(value) for value in figures.summary.values()]],
        list(figures.summary),
        disable_numparse=True,
    )
    classes = tabulate(
        [[name, _shown(value)] for name, value in figures.per_class.items()],
        ["class", figures.per_class_title],
        disable_numparse=True,
    )
    return f"{classes}\n\n{figures.title} on {images} images\n{summary}"


def _shown(value: float) -> str:
    return "–" if value < 0 else f"{value:.4f}"
