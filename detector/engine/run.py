"""The folder of a run: what a person finds in it, and what a resumed run reads."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from detector import __version__
from detector.model.detector import Detector
from detector.settings import TrainSettings
from detector.utils import system
from detector.utils.errors import DetectorError
from detector.utils.files import remove_temporaries, write_text
from detector.utils.system import installed_versions
from detector.weights.checkpoint import (
    STATE_SUFFIX,
    load_training_state,
    save_training_state,
    save_weights,
)

Record = dict[str, float]
"""One epoch: its number, losses, metrics, learning rate, seconds."""


class Run:
    """``settings.yaml``, ``provenance.json``, ``results.csv``, ``results.png``, the checkpoints.

    ``best`` and ``last`` are weights; ``last.state.pt`` is what a resumed run reads, and
    ``previous.state.pt`` the one before it.

    Args:
        folder: of the run.
        resumed_from: the state to go on from; default: the last one.
    """

    def __init__(self, folder: Path, resumed_from: Path | None = None) -> None:
        self.folder = folder
        self.settings = folder / "settings.yaml"
        self.provenance = folder / "provenance.json"
        self.results = folder / "results.csv"
        self.plot = folder / "results.png"
        self.best = folder / "best.safetensors"
        self.last = folder / "last.safetensors"
        self.state = folder / f"last{STATE_SUFFIX}"
        self.previous = folder / f"previous{STATE_SUFFIX}"
        self.resumed_from = resumed_from or self.state

    @classmethod
    def create(cls, settings: TrainSettings) -> Run:
        """Make the folder ``project/name``, or the next free number.

        Raises:
            DetectorError: a folder of that name holds a run that can be gone on with.
        """
        folder = settings.project / (settings.name or _next_number(settings.project))
        run = cls(folder)
        if run.state.exists() or run.previous.exists():
            raise DetectorError(
                f"holds a run already; choose another --name, or go on with it: --resume {folder}",
                file=folder,
            )
        run.write_settings(settings)
        return run

    @classmethod
    def find(cls, resume: str, project: Path) -> Run:
        """The run of that folder or state file, or the newest one for ``last``.

        Between its two names a state may have neither for a moment, and a run that was killed
        just then has only the one before.

        Raises:
            DetectorError: there is none, or it has no checkpoint yet.
        """
        if resume == "last":
            states = sorted(
                project.glob(f"*/*{STATE_SUFFIX}"), key=lambda path: path.stat().st_mtime
            )
            if not states:
                raise DetectorError("holds no run to resume", file=project)
            resume = str(states[-1].parent)
        path = Path(resume)
        if path.name.endswith(STATE_SUFFIX) and path.is_file():
            return cls(path.parent, path)
        run = cls(path.parent if path.is_file() else path)
        for state in (run.state, run.previous):
            if state.is_file():
                return cls(run.folder, state)
        raise DetectorError(
            f"has no checkpoint to go on from ({run.state.name}); start it again", file=path
        )

    def write_settings(self, settings: TrainSettings) -> None:
        """Keep the settings for a resumed run. Only the main process does."""
        if not system.is_main():
            return
        values = settings.model_dump(mode="json", exclude={"resume", "json_file", "debug"})
        write_text(self.settings, yaml.safe_dump(values, sort_keys=False))

    def write_provenance(self, values: Mapping[str, Any]) -> None:
        """Keep where the weights come from. Only the main process does."""
        if system.is_main():
            write_text(self.provenance, json.dumps(values, indent=2) + "\n")

    def read_state(self) -> dict[str, Any]:
        """What to go on from; removes the unfinished files of a killed process.

        Raises:
            DetectorError: damaged, or another file; names the one before, where there is one.
        """
        remove_temporaries(self.folder)
        try:
            return load_training_state(self.resumed_from)
        except DetectorError as error:
            if self.resumed_from != self.state or not self.previous.is_file():
                raise
            raise DetectorError(
                f"{error.message}; the one before it: --resume {self.previous}", file=self.state
            ) from error

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state to go on from; the one before it is kept. Only the main process does."""
        if system.is_main():
            save_training_state(self.state, state, self.previous)

    def save_weights(self, path: Path, model: Detector, training: Mapping[str, Any]) -> None:
        """Write ``best`` or ``last``. Only the main process does."""
        if system.is_main():
            save_weights(path, model, training)

    def resume_hint(self) -> str:
        """The command for a person, as far as there is a checkpoint."""
        if not self.state.is_file():
            return "there is no checkpoint yet to go on from"
        local = system.local_world_size()
        python = "python" if local == 1 else f"torchrun --nproc-per-node {local}"
        return f"go on: {python} tools/train.py --resume {shlex.quote(str(self.folder))}"

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


PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "albumentations",
    "pycocotools",
    "accelerate",
)
"""What the weights depend on."""

PRIVATE = {"project", "name", "json_file", "debug", "resume"}
"""Settings that change no weight."""


def provenance(settings: TrainSettings, data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, for JSON; the first command started the run, others went on with it.

    Args:
        settings: of the run.
        data: a fingerprint by split.
    """
    return {
        "commands": [shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])],
        "versions": {
            "detector": __version__,
            "python": platform.python_version(),
            **installed_versions(PACKAGES),
        },
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "settings": settings.model_dump(mode="json", exclude=PRIVATE),
        "data": dict(data),
    }
