"""What every logger does, and the identity of a run that it keeps over kills and resumes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from detector.engine.callbacks import Start, Step
from detector.engine.run import PRIVATE, Run
from detector.utils.errors import DetectorError, one_line
from detector.utils.files import read_text, write_text

PROJECT = "detector"
"""Name under which services group the runs, where the environment names no other."""

MAX_IDENTITY_BYTES = 1 << 12
"""Largest file with the id of a run that is read."""


@dataclass(frozen=True)
class RunIdentity:
    """A run as its loggers know it.

    Attributes:
        id: the same after each resume, and no other run's.
        folder: of the run.
        settings: plain values of the run's settings by name.
    """

    id: str
    folder: Path
    settings: Mapping[str, Any]

    @property
    def project(self) -> Path:
        """Folder of runs, which this run's folder is in."""
        return self.folder.absolute().parent


def identify(start: Start) -> RunIdentity:
    """Return the identity of a run: that which its folder keeps, or else a new one."""
    path = Run(start.folder).identity
    if not path.is_file():
        write_text(path, json.dumps({"id": secrets.token_hex(8)}) + "\n")
    values = start.settings.model_dump(mode="json", exclude=PRIVATE)
    return RunIdentity(_read_id(path), start.folder, values)


def _read_id(path: Path) -> str:
    """Return the id in a file of a run's folder."""
    try:
        run_id = json.loads(read_text(path, MAX_IDENTITY_BYTES, "the id of a run"))["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"is no id of a run: {one_line(error)}", file=path) from error
    if not (isinstance(run_id, str) and run_id.isalnum()):
        raise DetectorError(f"expected letters and digits as id, found {run_id!r}", file=path)
    return run_id


class Logger:
    """Base class of loggers: writes the metrics of epochs, pictures and files to one service.

    A method may raise any exception; ``LoggerCallback`` handles it.
    """

    name: ClassVar[str]

    def open(self, run: RunIdentity, step: int) -> None:
        """Open the service's record of a run, the one before where the run is resumed.

        Args:
            run: its identity and settings.
            step: optimizer steps that are done.
        """
        raise NotImplementedError

    def holds(self, metric: str, epoch: int) -> bool:
        """Return whether the record has that metric of that epoch, from before :meth:`open`."""
        raise NotImplementedError

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write metrics of an epoch, and have them written when this returns."""
        raise NotImplementedError

    def log_pictures(self, epoch: int, paths: Iterable[Path]) -> None:
        """Write pictures as they are after an epoch."""
        raise NotImplementedError

    def log_files(self, paths: Iterable[Path]) -> None:
        """Keep files with the run: its settings and its best checkpoint; a service may refer."""

    def log_step(self, step: Step) -> None:
        """Write the losses of an optimizer step, where the service is meant for so many values."""

    def opened(self) -> None:
        """Handle that all metrics of earlier epochs are in the record."""

    def close(self, finished: bool) -> None:
        """Close the record; ``finished`` is False for a run that was interrupted."""
        raise NotImplementedError
