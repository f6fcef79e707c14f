"""A training of nine steps that tests cut off and go on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from detector.engine.callbacks import Callback, Epoch, Start, Step
from detector.engine.head_settings import train_settings
from detector.engine.run import Record
from detector.engine.setup import prepare
from detector.engine.trainer import Trainer

TINY_SSD = """
nc: 2
imgsz: 64
anchors: [[10, 20], [20, 40]]
activation: ReLU
backbone:
  - [-1, 1, ConvAct, [8, 3, 2]]
  - [-1, 1, ConvAct, [8, 3, 2]]
  - [-1, 1, ConvAct, [16, 3, 2]]
head:
  - [-1, 1, ConvAct, [16, 3, 2]]
  - [[2, 3], 1, SSDHead, {nc: nc, anchors: anchors, ratios: [[2], [2]], steps: [8, 16]}]
"""

FEW = {
    "epochs": 3,
    "batch": 3,  # 8 images: batches of 3, 3, 2
    "nominal_batch": 3,
    "device": "cpu",
    "mosaic": 0.5,
    "warmup_epochs": 1,
    "ema_warmup": 5.0,
    "val_interval": 3,
}


@pytest.fixture
def no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture takes longer than a training here."""
    monkeypatch.setattr("detector.engine.callbacks.plot_results", lambda *_: None)


@pytest.fixture
def start(tiny_cfg: Path, tiny_data: Path, tmp_path: Path, no_plot: None) -> Callable[..., Trainer]:
    """A function that prepares a new run with settings in place of the usual ones."""

    def start(name: str, **values: object) -> Trainer:
        where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path, "name": name}
        return prepare(train_settings(**(where | FEW | values)))

    return start


@pytest.fixture
def resume(tmp_path: Path) -> Callable[..., Trainer]:
    """A function that prepares to go on with a run."""

    def resume(name: str, **values: object) -> Trainer:
        return prepare(train_settings(resume=str(tmp_path / name), **values))

    return resume


class AfterStep(Callback):
    """Does something after a step of the run, counted from 1, or after each one."""

    def __init__(self, action: Callable[[], None], number: int | None = None) -> None:
        self.action, self.number = action, number

    def on_step(self, step: Step) -> None:
        if self.number in (None, step.number):
            self.action()


class Listener(Callback):
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def on_start(self, start: Start) -> None:
        self.events.append(start)

    def on_step(self, step: Step) -> None:
        self.events.append(step)

    def on_epoch(self, epoch: Epoch) -> None:
        self.events.append(epoch)

    def on_end(self, history: Sequence[Record]) -> None:
        self.events.append(history)


def digest(trainer: Trainer) -> str:
    """SHA-256 of the weights, of their averages, and of the losses of all epochs."""
    found = hashlib.sha256()
    for module in (trainer.state.raw_model, trainer.state.average):
        for name, tensor in module.state_dict().items():
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    for record in trainer.progress.history:
        found.update(repr({k: v for k, v in record.items() if k != "seconds"}).encode())
    return found.hexdigest()
