"""The folder of a run: what a person finds in it, and what a resumed run reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from detector.config import read_yaml, validate, write_text
from detector.errors import DetectorError
from detector.settings import TrainSettings

Record = dict[str, float]
"""One epoch: its number, losses, figures, learning rate, seconds."""


class Run:
    """``settings.yaml``, ``results.csv``, ``results.png``, ``best`` and ``last`` checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "settings.yaml"
        self.results = folder / "results.csv"
        self.plot = folder / "results.png"
        self.best = folder / "best.safetensors"
        self.last = folder / "last.safetensors"
        self.state = folder / "last.state.pt"

    @classmethod
    def create(cls, settings: TrainSettings) -> Run:
        """Make the folder ``project/name``, or the next free number.

        Raises:
            DetectorError: a folder of that name holds a run already.
        """
        folder = settings.project / (settings.name or _next_number(settings.project))
        run = cls(folder)
        if run.settings.exists():
            raise DetectorError(
                f"holds a run already; choose another --name, or go on with it: --resume {folder}",
                file=folder,
            )
        values = settings.model_dump(mode="json", exclude={"resume", "json_file", "debug"})
        write_text(run.settings, yaml.safe_dump(values, sort_keys=False))
        return run

    @classmethod
    def find(cls, resume: str, project: Path) -> Run:
        """The run of that folder, or the newest one for ``last``.

        Raises:
            DetectorError: there is none, or it has no checkpoint yet.
        """
        if resume == "last":
            states = sorted(project.glob("*/last.state.pt"), key=lambda path: path.stat().st_mtime)
            if not states:
                raise DetectorError("holds no run to resume", file=project)
            return cls(states[-1].parent)
        folder = Path(resume)
        run = cls(folder if folder.is_dir() else folder.parent)
        if not run.state.is_file():
            raise DetectorError(
                "has no checkpoint to go on from (last.state.pt); start it again", file=folder
            )
        return run

    def read_settings(self) -> TrainSettings:
        """The settings that the run was started with."""
        return validate(TrainSettings, read_yaml(self.settings))

    def write_results(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write one line an epoch; the whole file each time, so that it is never half a line."""
        columns = list(dict.fromkeys(key for record in history for key in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for record in history:
            writer.writerow({key: _shown(value) for key, value in record.items()})
        write_text(self.results, text.getvalue())


def _next_number(project: Path) -> str:
    numbers = [int(path.name) for path in project.glob("*") if path.name.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _shown(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.8g}"
