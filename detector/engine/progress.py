"""How far a run is: plain values, kept in its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from detector.engine.run import Record


@dataclass
class Progress:
    """Where a run stands between two optimizer steps.

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
        best: the highest figure so far of those that choose the best epoch.
        best_epoch: its number, from 1; 0 before the first validation.
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

    def finish_epoch(self, learning_rate: float, figures: Mapping[str, float]) -> Record:
        """Close the present epoch with its record: mean losses, learning rate, figures."""
        self.epoch += 1
        record: Record = {"epoch": self.epoch}
        record |= {name: total / self.counted for name, total in self.totals.items()}
        record |= {"learning_rate": learning_rate, **figures, "seconds": self.epoch_seconds}
        self.seconds += self.epoch_seconds
        self.history.append(record)
        self.batch, self.counted, self.totals, self.epoch_seconds = 0, 0, {}, 0.0
        return record
