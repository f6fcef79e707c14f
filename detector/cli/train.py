"""``train``: model file or weights, labelled images → a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.cli.flags import given_values
from detector.engine.callbacks import shown_figures
from detector.engine.recipe import class_for
from detector.engine.setup import prepare
from detector.settings import TrainSettings


def settings_for(words: Sequence[str]) -> type[TrainSettings]:
    """Return the settings whose flags these words may give: of the head that they name.

    Where they name no model, those of every head.
    """
    return class_for(given_values(TrainSettings, words))


def train(settings: TrainSettings) -> dict[str, Any]:
    """Train or go on with a run; returns the best and the last epoch's figures."""
    trainer = prepare(settings)
    progress = trainer.fit()
    trainer.accelerator.end_training()  # leaves the other processes, where there are any
    run = trainer.run
    history = {int(record["epoch"]): record for record in progress.history}
    print(f"trained {progress.epoch} epochs in {progress.seconds:.0f} s")
    best = shown_figures(history[progress.best_epoch], trainer.task.figures)
    print(f"best {best} in epoch {progress.best_epoch}: {run.best}")
    print(f"next: python tools/detect.py --weights {run.best} --source IMAGES")
    return {
        "best": history[progress.best_epoch],
        "last": history[progress.epoch],
        "seconds": progress.seconds,
        "run": str(run.folder),
        "weights": str(run.best),
    }
