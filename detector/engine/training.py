"""A training from settings to result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from detector.engine.callbacks import Callback
from detector.engine.isolation import process_state_restored
from detector.engine.run import Record, release_folders
from detector.engine.setup import prepare
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError, shown
from detector.weights.checkpoint import load


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training: its folder, checkpoints, metrics and model.

    Attributes:
        folder: of the run.
        best: checkpoint of the best epoch, ``.safetensors``.
        last: checkpoint of the last epoch.
        best_epoch: its number, from 1.
        is_average: ``best`` is the average of the last epochs, ``best_epoch`` the last of them.
        metrics: of the best epoch on the validation split, by name; the main one first.
        main_metrics: names of those that people look at first.
        history: one record an epoch: losses, learning rate, metrics where it was validated.
        seconds: of the whole training.
    """

    folder: Path
    best: Path
    last: Path
    best_epoch: int
    is_average: bool
    metrics: dict[str, float]
    main_metrics: tuple[str, ...]
    history: tuple[Record, ...]
    seconds: float

    @cached_property
    def model(self) -> Detector:
        """Network of the best epoch, in eval mode, loaded when it is first used."""
        return load(self.best)


def _checked(callbacks: Any) -> Sequence[Callback]:
    """Return the callbacks of a program, or raise DetectorError for what is none."""
    if not isinstance(callbacks, (list, tuple)):
        raise DetectorError(f"callbacks: expected a list, found {shown(callbacks)}")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise DetectorError(
                f"callbacks: expected instances of detector.Callback, found {shown(callback)}"
            )
    return callbacks


def run_training(settings: TrainSettings, callbacks: Sequence[Callback] = ()) -> TrainingResult:
    """Train, or resume a run, and leave the process as it was.

    Args:
        settings: as they were given; see :func:`detector.engine.recipe.resolve`.
        callbacks: are told of the events, after the built-in ones.

    Raises:
        DetectorError: something does not fit together, or a number is not finite.
        Interrupted: Ctrl-C or SIGTERM; the message says how to resume.
    """
    callbacks = _checked(callbacks)
    if settings.folds is not None and settings.fold is None:
        raise DetectorError("folds: detector.cross_validate trains all of them; give fold for one")
    with process_state_restored(), ExitStack() as stack:
        stack.callback(release_folders)  # also where the setup fails
        trainer = prepare(settings)
        trainer.callbacks += callbacks
        progress = trainer.fit()
        trainer.accelerator.end_training()  # leaves the other processes, where there are any
    run, best_epoch = trainer.run, progress.best_epoch
    best = progress.averaged or next(
        record for record in progress.history if record["epoch"] == best_epoch
    )
    names = dict.fromkeys((*trainer.task.metrics, *trainer.evaluator.metrics))
    return TrainingResult(
        folder=run.folder,
        best=run.best,
        last=run.last,
        best_epoch=best_epoch,
        is_average=bool(progress.averaged),
        metrics={name: best[name] for name in names if name in best},
        main_metrics=trainer.task.metrics,
        history=tuple(progress.history),
        seconds=progress.seconds,
    )
