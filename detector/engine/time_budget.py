"""Number of epochs that fit into a time: some steps and one validation are measured before."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detector.engine.run import Run
from detector.engine.trainer import Trainer
from detector.settings.train import TrainSettings
from detector.utils.collectives import from_main

TRIAL_SHARE, MAX_TRIAL_SECONDS = 0.05, 60.0
"""Share of the time, and longest time, for which steps are measured."""

FIRST_STEPS = 2
"""Steps that are not measured: they allocate memory and choose kernels."""

END_SECONDS = 3.0
"""Time that plots and pictures of a run take at its end."""


@dataclass(frozen=True)
class Pace:
    """Times of a training, seconds.

    Attributes:
        epoch: of the steps of an epoch.
        validation: of a validation.
    """

    epoch: float
    validation: float

    def of(self, epochs: int, val_interval: int) -> float:
        """Return the time of a number of epochs; the last one has a validation, too."""
        return epochs * self.epoch + math.ceil(epochs / val_interval) * self.validation

    def epochs_within(self, seconds: float, val_interval: int) -> int:
        """Return the largest number of epochs that end within a time, at least 1.

        >>> Pace(epoch=10, validation=5).epochs_within(100, val_interval=2)
        8
        """
        epochs = max(int(seconds / (self.epoch + self.validation / val_interval)), 1)
        while epochs > 1 and self.of(epochs, val_interval) > seconds:
            epochs -= 1
        return epochs


def within_minutes(
    settings: TrainSettings, make_trainer: Callable[[Run], Trainer], started: float
) -> tuple[TrainSettings, str]:
    """Return the settings with the number of epochs that fit into ``minutes``, and a line on it.

    Args:
        settings: with ``minutes``.
        make_trainer: makes a trainer of copies, to measure it.
        started: when the time began, as ``time.monotonic``.
    """
    assert settings.minutes is not None
    seconds = 60 * settings.minutes
    pace = measure_pace(make_trainer, seconds)
    passed = from_main(lambda: time.monotonic() - started)
    left = seconds - passed - END_SECONDS
    epochs = pace.epochs_within(left, settings.val_interval)
    line = (
        f"{epochs} epochs fit into {settings.minutes:g} minutes: one takes {pace.epoch:.1f} s, a "
        f"validation {pace.validation:.1f} s, {passed:.0f} s have passed"
    )
    takes = pace.of(epochs, settings.val_interval)
    if takes > left:
        line = (
            f"one epoch is trained, which takes about {takes:.0f} s with its validation: more than "
            f"is left of {settings.minutes:g} minutes, {max(left, 0):.0f} s"
        )
    return settings.model_copy(update={"epochs": epochs}), line


def measure_pace(make_trainer: Callable[[Run], Trainer], seconds: float) -> Pace:
    """Measure steps and a validation of a training that is thrown away; the main process's times.

    Args:
        make_trainer: makes a trainer of copies.
        seconds: for the whole training.
    """
    with tempfile.TemporaryDirectory(prefix="detector-trial-") as folder:
        trainer = make_trainer(Run(Path(folder)))
        step = _step_seconds(trainer, min(seconds * TRIAL_SHARE, MAX_TRIAL_SECONDS))
        start = time.perf_counter()
        trainer.validate()
        pace = Pace(step * trainer.steps_per_epoch, time.perf_counter() - start)
    trainer.accelerator.free_memory()
    return from_main(lambda: pace)


def _step_seconds(trainer: Trainer, limit: float) -> float:
    """Return the time of a step, its images included, measured for a time or an epoch."""
    start = time.perf_counter()
    ends = []
    for _ in trainer.train_epoch():
        ends.append(time.perf_counter())
        if from_main(lambda: len(ends) > FIRST_STEPS and ends[-1] - start > limit):
            break
    if len(ends) <= FIRST_STEPS:
        return (ends[-1] - start) / len(ends)
    return (ends[-1] - ends[FIRST_STEPS - 1]) / (len(ends) - FIRST_STEPS)
