"""``analyse``: what a detector does wrong on a split, and which labels are probably wrong."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from detector.cli.refused import PART_FLAGS, check_effect, given
from detector.evaluation.analysis.analysis import Analysis
from detector.evaluation.analysis.files import LABEL_TABLE, PAGE, write_analysis
from detector.evaluation.analysis.run import analyse_results, check_analysable
from detector.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from detector.evaluation.returned import read_results
from detector.predict import open_backend, parallel_batches
from detector.runtime.backends.backend import Backend
from detector.settings.evaluate import EVALUATION_NMS, AnalyseSettings
from detector.utils import system
from detector.utils.collectives import init_process_group
from detector.utils.errors import DetectorError

SHOWN_LABELS = 10
"""Number of probably wrong labels that are printed."""


def analyse(settings: AnalyseSettings) -> dict[str, Any]:
    """Measure, analyse, print and write; return the numbers.

    Raises:
        DetectorError: weights or data are invalid, or the network is no detector.
    """
    _check_flags(settings)
    with init_process_group():
        backend = open_backend(settings.weights, settings)
        check_analysable(backend, settings.metric)
        check_effect(settings, backend, settings.nms(backend.eval_nms))
        evaluation_set = open_evaluation_set(settings, settings.split, backend, "coco")
        _predict(settings, evaluation_set, backend)
        analysis = analyse_results(evaluation_set, settings.shown)
        if system.is_main():
            write_analysis(analysis, evaluation_set, settings.output, settings.pictures)
    print(report(analysis))
    print(f"\npage: {settings.output / PAGE}\nlabels: {settings.output / LABEL_TABLE}")
    return analysis.to_dict()


def _check_flags(settings: AnalyseSettings) -> None:
    """Raise DetectorError if flags are given that boxes found before make ignored."""
    if settings.predictions is not None:
        ignored = given(settings, [*EVALUATION_NMS, *PART_FLAGS, "imgsz", "letterbox", "batch"])
        if ignored:
            raise DetectorError(
                f"{ignored[0]} does not go with --predictions, whose boxes are taken unchanged"
            )


def _predict(settings: AnalyseSettings, evaluation_set: EvaluationSet, backend: Backend) -> None:
    """Let the network find boxes, or read those that were found before."""
    if settings.predictions is None:
        nms = settings.nms(backend.eval_nms)
        parallel = parallel_batches(settings)
        evaluation_set.measure(backend, nms, settings.batch, parallel, settings)
        return
    dataset = evaluation_set.dataset
    image_ids = [sample.image_id for sample in dataset.samples]
    evaluation_set.evaluator.results = read_results(
        settings.predictions, backend, image_ids, dataset.category_ids
    )


def report(analysis: Analysis) -> str:
    """Return the main numbers as text, with a dash for those without any ground truth."""
    shown = f"at {analysis.confidence:g}"
    classes = _table(
        [
            "class",
            "objects",
            "AP50",
            f"precision {shown}",
            f"recall {shown}",
            "best confidence",
            "F1",
        ],
        [
            [
                one.name,
                one.objects,
                _text(one.ap50),
                _text(one.chosen.precision),
                _text(one.chosen.recall),
                _text(one.best.confidence if one.best else None),
                _text(one.best.f1 if one.best else None),
            ]
            for one in analysis.curves
        ],
    )
    errors = _table(
        ["error type", "count", "gain in AP50"],
        [
            [name, one.count, f"{one.gain:.4f}"]
            for name, one in {**analysis.errors.types, **analysis.errors.totals}.items()
        ],
    )
    summary = analysis.metrics.summary
    metrics = _table(list(summary), [[_text(value) for value in summary.values()]])
    found = analysis.calibration
    calibration = (
        f"expected calibration error: {found.error:.4f}; of boxes from {found.confidence:g} on "
        f"{found.shown_error:.4f}"
    )
    parts = [classes, errors, _labels(analysis), calibration, metrics, *analysis.notes]
    return "\n\n".join(filter(None, parts))


def _labels(analysis: Analysis) -> str:
    errors = analysis.label_errors
    first = [
        [analysis.files[one.image_id], one.kind, one.label_class, one.predicted_class]
        + [f"{one.suspicion:.2f}"]
        for one in errors[:SHOWN_LABELS]
    ]
    if not first:
        return "no label that the network disagrees with"
    title = f"labels that the network disagrees with: {len(errors)}; the most suspicious"
    return f"{title}\n{_table(['image', 'kind', 'label', 'found', 'suspicion'], first)}"


def _table(columns: list[str], rows: list[list[Any]]) -> str:
    return tabulate(rows, columns, disable_numparse=True)


def _text(value: float | None) -> str:
    return "–" if value is None or value < 0 else f"{value:.4f}"
