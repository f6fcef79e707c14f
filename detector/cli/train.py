"""``train``: train a model file or weights on a data set, into the folder of a run."""

from __future__ import annotations

from typing import Any

from detector.cli.tables import INTERVAL, format_interval, format_metric, table
from detector.engine.callbacks import shown_metrics
from detector.engine.cross_validation import CrossValidation, is_cross_validation, run_folds
from detector.engine.training import run_training
from detector.settings.train import TrainSettings


def train(settings: TrainSettings) -> dict[str, Any]:
    """Train, or resume a run; print and return the metrics of the best and the last epoch.

    Raises:
        DetectorError: settings, data or weights are invalid.
    """
    if is_cross_validation(settings):
        return _cross_validate(settings)
    result = run_training(settings)
    best = next(one for one in result.history if one["epoch"] == result.best_epoch)
    where = f"in epoch {result.best_epoch}"
    if result.is_average:
        best = {"epoch": result.best_epoch, **result.metrics}
        where = f"of the average of the last epochs to {result.best_epoch}"
    print(f"trained {len(result.history)} epochs in {result.seconds:.0f} s")
    shown = shown_metrics(best, result.main_metrics)
    print(f"best {shown} {where}: {result.best}")
    print(f"next: detector detect --weights {result.best} --source IMAGES")
    return {
        "best": best,
        "last": result.history[-1],
        "seconds": result.seconds,
        "run": str(result.folder),
        "weights": str(result.best),
    }


def _cross_validate(settings: TrainSettings) -> dict[str, Any]:
    """Train all folds; print and return their metrics and those of all images."""
    result = run_folds(settings)
    print(*_lines(result), sep="\n")
    return result.to_dict()


def _lines(result: CrossValidation) -> list[str]:
    names = list(result.metrics.intervals)
    rows = [
        [str(fold.number), str(fold.images), *(format_metric(fold.metrics[name]) for name in names)]
        for fold in result.folds
    ]
    pairs = [result.mean_and_deviation(name) for name in names]
    rows.append(["mean ± deviation", "", *(f"{mean:.4f} ± {spread:.4f}" for mean, spread in pairs)])
    of_all = [result.metrics.summary[name] for name in names]
    images = sum(fold.images for fold in result.folds)
    rows.append(["all images", str(images), *map(format_metric, of_all)])
    rows.append([INTERVAL, "", *(format_interval(result.metrics.intervals[n]) for n in names)])
    return [
        table(rows, ["held out", "images", *names]),
        f"predictions on all images, each by a network that has not seen it: {result.predictions}",
    ]
