"""Losses, learning rate and metrics for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

from detector.engine.callbacks import Callback, Epoch, Start, Step
from detector.engine.run import Record
from detector.utils.errors import DetectorError


class TensorBoard(Callback):
    """Writes TensorBoard events into the run's folder; watch with ``tensorboard --logdir FOLDER``.

    Raises:
        DetectorError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DetectorError(
                f"--tensorboard needs tensorboard ({error}); run: pip install tensorboard"
            ) from error
        self.open = SummaryWriter

    def on_start(self, start: Start) -> None:
        self.writer = self.open(str(start.folder), purge_step=start.step + 1)

    def on_step(self, step: Step) -> None:
        for name, value in {**step.losses, "learning_rate": step.learning_rate}.items():
            self.writer.add_scalar(f"train/{name}", value, step.number)

    def on_epoch(self, epoch: Epoch) -> None:
        for name, value in epoch.record.items():
            if name != "epoch":
                self.writer.add_scalar(f"epoch/{name}", value, int(epoch.record["epoch"]))
        self.writer.flush()

    def on_end(self, history: Sequence[Record]) -> None:
        self.writer.close()
