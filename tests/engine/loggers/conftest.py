"""A process that is killed between the checkpoint of an epoch and what callbacks make of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detector.engine.callbacks import Callback, Epoch
from detector.engine.trainer import Trainer


class Killed(BaseException):
    """What no code handles."""


class KillAfterEpoch(Callback):
    """Ends the process, as far as the callbacks behind this one can see."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch(self, epoch: Epoch) -> None:
        if epoch.record["epoch"] == self.epoch:
            raise Killed


@pytest.fixture
def fit_until_killed() -> Callable[[Trainer, int], None]:
    """A function that trains until the state of an epoch is saved, and nobody told of it."""

    def fit(trainer: Trainer, epoch: int) -> None:
        trainer.callbacks.insert(0, KillAfterEpoch(epoch))
        with pytest.raises(Killed):
            trainer.fit()

    return fit
