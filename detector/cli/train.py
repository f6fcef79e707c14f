"""``train``: train a model file or weights on a data set, into the folder of a run."""

from __future__ import annotations

from typing import Any

from detector.engine.callbacks import shown_metrics
from detector.engine.training import run_training
from detector.settings.train import TrainSettings


def train(settings: TrainSettings) -> dict[str, Any]:
    """Train, or resume a run; print and return the metrics of the best and the last epoch.

    Raises:
        DetectorError: settings, data or weights are invalid.
    """
    result = run_training(settings)
    best = next(one for one in result.history if one["epoch"] == result.best_epoch)
    print(f"trained {len(result.history)} epochs in {result.seconds:.0f} s")
    shown = shown_metrics(best, result.main_metrics)
    print(f"best {shown} in epoch {result.best_epoch}: {result.best}")
    print(f"next: python tools/detect.py --weights {result.best} --source IMAGES")
    return {
        "best": best,
        "last": result.history[-1],
        "seconds": result.seconds,
        "run": str(result.folder),
        "weights": str(result.best),
    }
