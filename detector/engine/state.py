"""Training state: everything that an optimizer step changes and a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from detector.engine.optim import Schedule, make_average, make_optimizer, set_learning_rate
from detector.engine.run import Record
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.weights.checkpoint import metadata_of


class TrainingState:
    """Weights, their average, optimizer, learning rate and progress of a training.

    There is no generator of random numbers among it: each step and each example seeds its own, see
    :func:`detector.engine.trainer.seed_step` and :class:`detector.data.loader.TrainingSet`. Nor are
    there gradients: it is kept between two steps.

    Args:
        settings: of the run.
        model: on the CPU.
        steps_per_epoch: optimizer steps of one epoch.
        accelerator: device, precision and processes.
        helpers: modules that are trained with the network and are no part of it; on the device.

    Attributes:
        raw_model: the network itself.
        model: the network to call in training, which knows of precision and processes.
        average: of the network's weights and buffers.
        progress: plain values.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Detector,
        steps_per_epoch: int,
        accelerator: Accelerator,
        helpers: nn.Module | None = None,
    ) -> None:
        self.raw_model = model.to(accelerator.device)
        self.average = make_average(model, settings)
        self.schedule = Schedule(settings, settings.epochs, steps_per_epoch)
        self.progress = Progress()
        optimizer = make_optimizer(model, settings, helpers)
        set_learning_rate(optimizer, self.schedule(0))
        self._scaler = accelerator.scaler
        model = model.to(memory_format=torch.channels_last)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)

    @property
    def averaged_model(self) -> Detector:
        """Averaged network, which is validated and saved."""
        return cast(Detector, self.average.module)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self) -> bool:
        """Update weights and their average; return whether the step was done.

        A scaler of half precision leaves a step out whose gradients are not finite.
        """
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.optimizer.step_was_skipped:
            return False
        self.average.update_parameters(self.raw_model)
        return True

    def advance(self, losses: Mapping[str, float], batches: int) -> None:
        """Advance to the next step; without losses this one was skipped."""
        self.progress.add_step(losses, batches)
        set_learning_rate(self.optimizer, self.schedule(self.progress.step))

    def is_finite(self) -> bool:
        """Return whether all weights and buffers are finite."""
        tensors = chain(self.raw_model.parameters(), self.raw_model.buffers())
        norm = get_total_norm([tensor for tensor in tensors if tensor.is_floating_point()])
        return bool(torch.isfinite(norm))

    def buffers(self) -> list[Tensor]:
        """Return copies of the buffers, which a forward pass changes (batch-norm statistics)."""
        return [buffer.clone() for buffer in self.raw_model.buffers()]

    def undo(self, buffers: list[Tensor]) -> None:
        """Discard the gradients and restore these buffers."""
        self.optimizer.zero_grad()
        for buffer, before in zip(self.raw_model.buffers(), buffers, strict=True):
            buffer.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values for a checkpoint."""
        return {
            "card": metadata_of(self.raw_model).model_dump_json(),
            "progress": asdict(self.progress),
            "model": self.raw_model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict() if self._scaler else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self.progress = Progress(**state["progress"])
        self.raw_model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._scaler:
            self._scaler.load_state_dict(state["scaler"])
        set_learning_rate(self.optimizer, self.schedule(self.progress.step))


@dataclass
class Progress:
    """Progress of a run between two optimizer steps.

    Attributes:
        epoch: whole epochs.
        batch: batches of the present epoch that have been shown.
        counted: those of them whose losses are in ``totals``; the others were skipped.
        totals: sum of each loss over them.
        epoch_seconds: of the present epoch.
        step: optimizer steps, those that were skipped included.
        skipped: steps that were skipped.
        skipped_in_a_row: how many of the last steps were.
        seconds: of the whole epochs.
        best: the highest metric so far of those that choose the best epoch.
        best_epoch: its number, from 1; 0 before the first validation.
        averaged: metrics of the average of the last epochs, if it is the best; see
            :mod:`detector.engine.last_epochs`.
        average_epoch: epoch after which that average was measured; 0 before.
        history: one record a whole epoch.
    """

    epoch: int = 0
    batch: int = 0
    counted: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    epoch_seconds: float = 0.0
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_epoch: int = 0
    averaged: dict[str, float] = field(default_factory=dict)
    average_epoch: int = 0
    history: list[Record] = field(default_factory=list)

    def add_step(self, losses: Mapping[str, float], batches: int) -> None:
        """Count an optimizer step: the sums of its batches' losses; none if it was skipped."""
        self.step += 1
        self.batch += batches
        if losses:
            self.counted += batches
            self.skipped_in_a_row = 0
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
        for name, value in losses.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def finish_epoch(self, learning_rate: float, metrics: Mapping[str, float]) -> Record:
        """Close the present epoch with its record: mean losses, learning rate, metrics."""
        self.epoch += 1
        record: Record = {"epoch": self.epoch}
        record |= {name: total / self.counted for name, total in self.totals.items()}
        record |= {"learning_rate": learning_rate, **metrics, "seconds": self.epoch_seconds}
        self.seconds += self.epoch_seconds
        self.history.append(record)
        self.batch, self.counted, self.totals, self.epoch_seconds = 0, 0, {}, 0.0
        return record
