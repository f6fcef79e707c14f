"""Events of a training, and the callbacks that receive them.

A callback gets plain values and changes nothing of what is computed. It runs in the main process
only, where it sees the same events whether there is one process or several.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from detector.data.dataset import DetectionDataset
from detector.data.loader import ExampleKey, TrainingSet
from detector.engine.plots import plot_results
from detector.engine.run import Record, Run
from detector.settings.train import TrainSettings
from detector.utils.system import peak_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Event: a run starts or is resumed.

    Attributes:
        folder: of the run.
        settings: of the run.
        train_set: training examples by key.
        val_set: the images that are validated.
        metrics: names of the task's metrics, the main one first.
        monitor: name of the metric that chooses the best epoch.
        images: that an epoch shows; more than there are, where some are repeated.
        step: optimizer steps that are done, of a resumed run.
        history: the records of the epochs that are done, of a resumed run.
    """

    folder: Path
    settings: TrainSettings
    train_set: TrainingSet
    val_set: DetectionDataset
    metrics: tuple[str, ...]
    monitor: str
    images: int
    step: int = 0
    history: Sequence[Record] = ()


@dataclass(frozen=True)
class Step:
    """Event: an optimizer step is done.

    Attributes:
        number: of the step in the run, from 1.
        epoch: number of the epoch, from 1.
        batches: of the epoch that have been shown.
        keys: of the examples that the step was computed from, those of all processes.
        losses: means over the step's batches; empty if the step was skipped.
        learning_rate: that it was done with.
    """

    number: int
    epoch: int
    batches: int
    keys: Sequence[ExampleKey]
    losses: Mapping[str, float]
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """Event: an epoch is done and saved.

    Attributes:
        record: its number, losses, learning rate, metrics where it was validated, seconds.
        history: the records of all epochs so far.
        best: the best value so far of the metric that chooses the best epoch.
        best_epoch: that epoch's number; 0 before the first validation.
        results: what the evaluator was given of each validation image, as COCO has it; empty
            where the epoch was not validated.
    """

    record: Record
    history: Sequence[Record]
    best: float
    best_epoch: int
    results: Sequence[Mapping[str, Any]]


class Callback:
    """Base class of callbacks; override the events of interest."""

    def on_start(self, start: Start) -> None:
        """Handle the start of the run, before the first step."""

    def on_step(self, step: Step) -> None:
        """Handle the end of an optimizer step."""

    def on_epoch(self, epoch: Epoch) -> None:
        """Handle the end of an epoch."""

    def on_end(self, history: Sequence[Record]) -> None:
        """Handle the end of the run; not called if it is interrupted."""

    def close(self) -> None:
        """Release what the callback holds; the last call, also where the run is interrupted."""


class Callbacks(Callback):
    """Calls several callbacks in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks

    def on_start(self, start: Start) -> None:
        for callback in self.callbacks:
            callback.on_start(start)

    def on_step(self, step: Step) -> None:
        for callback in self.callbacks:
            callback.on_step(step)

    def on_epoch(self, epoch: Epoch) -> None:
        for callback in self.callbacks:
            callback.on_epoch(epoch)

    def on_end(self, history: Sequence[Record]) -> None:
        for callback in self.callbacks:
            callback.on_end(history)

    def close(self) -> None:
        for callback in self.callbacks:
            callback.close()


class Results(Callback):
    """Writes ``results.csv`` after each epoch and ``results.png`` at the end."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_start(self, start: Start) -> None:
        self.metrics = start.metrics
        if start.history:  # a process that was killed may not have come to its last epoch
            self.run.write_results(start.history)

    def on_epoch(self, epoch: Epoch) -> None:
        self.run.write_results(epoch.history)

    def on_end(self, history: Sequence[Record]) -> None:
        plot_results(history, self.metrics, self.run.plot)


class Terminal(Callback):
    """Shows a progress bar over the images of an epoch, and logs a line per epoch."""

    def on_start(self, start: Start) -> None:
        self.start = start
        self.earlier = len(start.history)
        self.bar: Any = None
        self.clock, self.images, self.rate = time.perf_counter(), 0, 0.0

    def on_step(self, step: Step) -> None:
        total, count = self.start.images, len(step.keys)
        if self.bar is None:
            self.bar = tqdm(
                initial=min(step.batches * self.start.settings.batch, total) - count,
                total=total,
                desc=f"epoch {step.epoch}/{self.start.settings.epochs}",
                unit="image",
                leave=False,
                mininterval=0.5,
                disable=None,  # off a terminal
            )
        self.bar.update(count)
        self.images += count
        self.rate = self.images / (time.perf_counter() - self.clock)

    def on_epoch(self, epoch: Epoch) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        logger.info(self.described(epoch))
        self.clock, self.images = time.perf_counter(), 0

    def on_end(self, history: Sequence[Record]) -> None:
        if len(history) < self.start.settings.epochs:
            patience = self.start.settings.patience
            logger.info(f"no better {self.start.monitor} for {patience} epochs: stopped")

    def described(self, epoch: Epoch) -> str:
        """Return the line that is logged for an epoch."""
        record, monitor = epoch.record, self.start.monitor
        losses = [f"{k.removeprefix('loss_')} {v:.3f}" for k, v in record.items() if "loss" in k]
        line = f"epoch {record['epoch']}/{self.start.settings.epochs}: {', '.join(losses)}"
        if monitor in record:
            line += f", {shown_metrics(record, self.start.metrics)}"
            line += f" (best {monitor} {epoch.best:.4f} in epoch {epoch.best_epoch})"
        return f"{line}; {record['seconds']:.0f} s, {self.speed(epoch)}"

    def speed(self, epoch: Epoch) -> str:
        """Return images per second, the time left, and the peak memory, as text."""
        # Those before a resumption may be of another machine, or of a busier one.
        seconds = [record["seconds"] for record in epoch.history[self.earlier :]]
        to_go = self.start.settings.epochs - len(epoch.history)
        left = timedelta(seconds=round(to_go * sum(seconds) / len(seconds)))
        return f"{self.rate:.1f} images/s, {left} left, {memory()}"


def memory() -> str:
    """Return the peak memory of the process, and of the GPU where there is one, as text."""
    held = f"{peak_memory() / 1e9:.1f} GB"
    if torch.accelerator.is_available() and (most := torch.accelerator.max_memory_allocated()):
        held += f", {most / 1e9:.1f} GB on the {torch.accelerator.current_accelerator()}"
    return held


def shown_metrics(record: Record, metrics: Sequence[str]) -> str:
    """Format the task's main metrics of a validated epoch."""
    return ", ".join(f"{name} {record[name]:.4f}" for name in metrics)
