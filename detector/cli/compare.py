"""``compare``: measure models on the same images, with intervals of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.cli.refused import PART_FLAGS, check_effect, given
from detector.cli.tables import NOTHING, format_interval, format_metric, table
from detector.evaluation.comparison import ComparedModel, Comparison, compare_models
from detector.evaluation.contenders import Contender, check_number
from detector.evaluation.paired import Difference
from detector.predict import open_backend, parallel_batches
from detector.settings.evaluate import EVALUATION_NMS, CompareSettings
from detector.utils.errors import DetectorError

SHOWN_CLASSES = 10
"""Number of classes in a table of differences; ``--json`` writes all."""

NO_DIFFERENCE = "no difference"


def compare(settings: CompareSettings) -> dict[str, Any]:
    """Compare, print and return the metrics, differences, speed and size of models.

    Raises:
        DetectorError: as :func:`detector.compare`, or a flag has no effect on one of the models.
    """
    check_number(settings.models)
    models = [
        Contender.open(one, lambda file: open_backend(file, settings)) for one in settings.models
    ]
    for model in models:
        _check_effect(settings, model)
    comparison = compare_models(models, settings, parallel_batches(settings))
    print(report(comparison))
    return comparison.to_dict()


def _check_effect(settings: CompareSettings, model: Contender) -> None:
    """Raise DetectorError for given flags that have no effect on a model."""
    if model.backend is not None:
        check_effect(settings, model.backend, settings.nms(model.backend.eval_nms))
        return
    ignored = given(settings, [*EVALUATION_NMS, *PART_FLAGS])
    if ignored:
        raise DetectorError(
            f"{ignored[0]} does not go with predictions, which are scored unchanged",
            file=model.file,
        )


def report(comparison: Comparison) -> str:
    """Return a comparison as text."""
    first, *others = comparison.models
    title = f"{first.metrics.title} on {comparison.images} images"
    resamples = f"intervals cover 95 % of {first.metrics.resamples} resamples of the images"
    legend = [f"{model.letter}: {model.name}" for model in comparison.models]
    lines = [*legend, "", f"{title}; {resamples}", _overview(comparison.models), ""]
    lines += [_verdict(first, other) for other in others]
    for other in others:
        if not other.is_copy:
            lines += ["", _classes(first, other)]
    return "\n".join(lines)


def _overview(models: Sequence[ComparedModel]) -> str:
    """Return the table of all models."""
    names = list(models[0].metrics.intervals)
    main = names[0]
    header = ["", main, "interval", *names[1:], f"{main} − A", "interval", "ms an image", "MB"]
    rows = [
        [
            model.letter,
            format_metric(model.metrics.summary[main]),
            format_interval(model.metrics.intervals[main]),
            *(format_metric(model.metrics.summary[name]) for name in names[1:]),
            *_difference(model.differences.get(main)),
            _number(model.ms_per_image, 1),
            _number(model.size_mb, 2),
        ]
        for model in models
    ]
    return table(rows, header)


def _classes(first: ComparedModel, other: ComparedModel) -> str:
    """Return the table of the largest differences between classes."""
    found = other.class_differences
    shown = dict(list(found.items())[:SHOWN_CLASSES])
    a, b = first.letter, other.letter
    rows = [
        [
            name,
            format_metric(first.metrics.per_class[name]),
            format_metric(other.metrics.per_class[name]),
            *_difference(one),
        ]
        for name, one in shown.items()
    ]
    text = table(rows, ["class", a, b, f"{b} − {a}", "interval"])
    left_out = len(found) - len(shown)
    return f"{text}\n{left_out} classes with smaller differences: --json" if left_out else text


def _difference(difference: Difference | None) -> list[str]:
    """Return a difference and its interval as two cells."""
    if difference is None or difference.value is None:
        return [NOTHING, NOTHING]
    if difference.is_none:
        return [NO_DIFFERENCE, NOTHING]
    return [f"{difference.value:+.4f}", format_interval(difference.interval, "+")]


def _verdict(first: ComparedModel, other: ComparedModel) -> str:
    """Return what the resamples say about two models, in one line."""
    name, one = next(iter(other.differences.items()))
    if other.is_copy:
        return f"{other.letter} has the predictions of {first.letter}: {NO_DIFFERENCE}"
    if one.value is None:
        return f"{other.letter} and {first.letter}: nothing to measure"
    if one.is_none:
        return f"{other.letter} has the {name} of {first.letter} on all resamples: {NO_DIFFERENCE}"
    better, wins = max((other.letter, one.higher), (first.letter, one.lower), key=lambda x: x[1])
    text = f"{better} is better in {wins} of {one.resamples} resamples"
    if one.interval is None:
        return text
    side = "covers 0" if one.covers_zero else "does not cover 0"
    return f"{text}; the interval of {other.letter} − {first.letter} {side}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
