"""``tools/train.py`` with frozen batch norms, for runs that are compared.

In the folder WATCHED it leaves the keys of the examples that each process read, and from the main
process the events that callbacks are told of.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from torch import nn

from detector.cli import run_tool
from detector.data.loader import ExampleKey, TrainingSet
from detector.engine.callbacks import Epoch, Results, Step

FOLDER = Path(os.environ["WATCHED"])
FOLDER.mkdir(parents=True, exist_ok=True)


def freeze(self: nn.BatchNorm2d, mode: bool = True) -> nn.Module:
    return nn.Module.train(self, False)


def write(name: str, value: object) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(json.dumps(value) + "\n")


read = TrainingSet.__getitem__


def watch(self: TrainingSet, key: ExampleKey) -> Any:
    write(f"keys.{os.environ.get('RANK', '0')}", key)
    return read(self, key)


class Watcher(Results):
    """In the place of the callback that writes results."""

    def on_step(self, step: Step) -> None:
        write("events", [step.number, step.epoch, step.batches, step.keys, step.learning_rate])

    def on_epoch(self, epoch: Epoch) -> None:
        super().on_epoch(epoch)
        write("events", [epoch.record["epoch"], epoch.best_epoch, len(epoch.results)])


if __name__ == "__main__":
    nn.BatchNorm2d.train = freeze  # type: ignore[assignment]
    TrainingSet.__getitem__ = watch  # type: ignore[method-assign]
    import detector.engine.trainer

    detector.engine.trainer.Results = Watcher  # type: ignore[misc]
    sys.exit(run_tool("train"))
