"""Losses, learning rate, metrics and pictures for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from detector.engine.callbacks import Step
from detector.engine.loggers.logger import Logger, RunIdentity
from detector.utils.opencv import read_image

PER_EPOCH = "epoch/"
"""Prefix of the tags of an epoch's metrics; their steps are numbers of epochs."""


class TensorBoard(Logger):
    """Writes TensorBoard events into the run's folder; watch with ``tensorboard --logdir FOLDER``.

    Events of steps that are done again after a kill are purged by TensorBoard when it reads the
    file of the resumed run, whose first event says from which step on.
    """

    name: ClassVar[str] = "tensorboard"

    def open(self, run: RunIdentity, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._held = epochs_held(run.folder) if step else set()
        self._writer = SummaryWriter(str(run.folder), purge_step=step + 1)

    def holds(self, metric: str, epoch: int) -> bool:
        return (PER_EPOCH + metric, epoch) in self._held

    def log_step(self, step: Step) -> None:
        for name, value in {**step.losses, "learning_rate": step.learning_rate}.items():
            self._writer.add_scalar(f"train/{name}", value, step.number)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(PER_EPOCH + name, value, epoch)
        self._writer.flush()

    def log_pictures(self, epoch: int, paths: Iterable[Path]) -> None:
        for path in paths:
            image = read_image(path)
            self._writer.add_image(f"pictures/{path.stem}", image, epoch, dataformats="HWC")
        self._writer.flush()

    def close(self, finished: bool) -> None:
        self._writer.close()


def epochs_held(folder: Path) -> set[tuple[str, int]]:
    """Return tag and epoch of each metric of an epoch in a folder's event files."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    return {
        (tag, event.step)
        for tag in events.Tags()[SCALARS]
        if tag.startswith(PER_EPOCH)
        for event in events.Scalars(tag)
    }
