"""``train``: model file or weights, labelled images → a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.cli.flags import given_values
from detector.engine.callbacks import shown_metrics
from detector.engine.recipe import class_for
from detector.engine.training import run_training
from detector.settings import TrainSettings


def settings_for(words: Sequence[str]) -> type[TrainSettings]:
    """Return the settings whose flags these words may give: of the head that they name.

    Where they name no model, those of every head.
    """
    return class_for(given_values(TrainSettings, words))


def train(settings: TrainSettings) -> dict[str, Any]:
    """Train or go on with a run; returns the best and the last epoch's metrics."""
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
