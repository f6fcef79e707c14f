"""The events of a run → a logger, each metric of each epoch once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from detector.engine.callbacks import Callback, Epoch, Start, Step
from detector.engine.loggers.logger import Logger, identify
from detector.engine.run import Record, Run
from detector.utils.errors import DetectorError, one_line

logger = logging.getLogger(__name__)

PICTURES = ("*.jpg", "*.png")
"""Patterns of the pictures in a run's folder."""


class LoggerCallback(Callback):
    """Writes a run to a logger; what a killed process did not write is written on resuming.

    A logger that cannot be opened is an error before the first step. One that fails later is left
    out until the run is resumed, and a message says so: the run goes on.

    Args:
        target: the logger.
    """

    def __init__(self, target: Logger) -> None:
        self.target = target
        self.works = False
        self.finished = False
        self.written: dict[Path, int] = {}
        self.epoch = 0

    def on_start(self, start: Start) -> None:
        self.run = Run(start.folder)
        try:
            self.target.open(identify(start), start.step)
        except DetectorError:
            raise
        except Exception as error:
            raise DetectorError(
                f"--log {self.target.name}: cannot be opened: {described(error)}"
            ) from error
        self.works = True
        self._attempt(self._catch_up, start.history)

    def on_step(self, step: Step) -> None:
        self._attempt(self.target.log_step, step)

    def on_epoch(self, epoch: Epoch) -> None:
        self._attempt(self._log_epoch, epoch.record)

    def on_end(self, history: Sequence[Record]) -> None:
        self._attempt(self._log_end)
        self.finished = True

    def close(self) -> None:
        self._attempt(self._close)

    def _close(self) -> None:
        self.works = False
        self.target.close(self.finished)

    def _catch_up(self, history: Sequence[Record]) -> None:
        """Write the metrics of earlier epochs that the logger lacks."""
        for record in history:
            self._log_metrics(record)
        self.target.opened()
        self.target.log_files([self.run.settings])

    def _log_epoch(self, record: Record) -> None:
        self._log_metrics(record)
        self._log_pictures()

    def _log_metrics(self, record: Record) -> None:
        self.epoch = int(record["epoch"])
        metrics = {
            name: value
            for name, value in record.items()
            if name != "epoch" and not self.target.holds(name, self.epoch)
        }
        if metrics:
            self.target.log_epoch(self.epoch, metrics)

    def _log_end(self) -> None:
        self._log_pictures()
        self.target.log_files([self.run.best])

    def _log_pictures(self) -> None:
        """Write the pictures that were drawn since this was last called."""
        changed = list(self._changed_pictures())
        if changed:
            self.target.log_pictures(self.epoch, changed)

    def _changed_pictures(self) -> Iterator[Path]:
        for pattern in PICTURES:
            for path in sorted(self.run.folder.glob(pattern)):
                drawn_at = path.stat().st_mtime_ns
                if self.written.get(path) != drawn_at:
                    self.written[path] = drawn_at
                    yield path

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        """Call the logger; after an error say so, and leave it out from then on."""
        if not self.works:
            return
        try:
            action(*arguments)
        except Exception as error:
            self.works = False
            logger.warning(
                f"--log {self.target.name}: failed after epoch {self.epoch} and is left out from "
                f"here; the run goes on, and --resume writes what is missing: {described(error)}"
            )
            with suppress(Exception):  # it may fail for the same reason
                self.target.close(False)


def described(error: Exception) -> str:
    """Return an exception's kind and message in one line."""
    return f"{type(error).__name__}: {one_line(error)}"
