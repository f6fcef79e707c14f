"""Folder of a run: its files for people, and those that a resumed run reads."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from detector import __version__
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.utils import system
from detector.utils.errors import DetectorError, public_url
from detector.utils.files import remove_temporaries, write_text
from detector.utils.system import installed_versions
from detector.weights.checkpoint import (
    STATE_SUFFIX,
    load_training_state,
    save_training_state,
    save_weights,
)

THIS_TIME = {
    *("resume", "project", "device", "workers", "debug", "json_file"),
    *("checkpoint_activations", "cache", "cache_dir", "pictures", "log"),
}
"""Flags allowed beside ``--resume`` that hold for this process only."""

FROM_NOW_ON = {"epochs", "patience", "save_minutes", "skip_nonfinite", "teacher"}
"""Flags allowed beside ``--resume`` that replace the settings of the run; epochs only grow, and
a teacher's file may lie elsewhere now."""

_LOCKS: dict[Path, FileLock] = {}
"""Folders that this process holds; a Run itself travels between processes."""

Record = dict[str, float]
"""Values of one epoch by name: its number, losses, metrics, learning rate, seconds."""


class Run:
    """Folder of a run with its settings, provenance, results and checkpoints.

    ``best``, ``last`` and ``averaged`` are weights; ``last.state.pt`` is what a resumed run reads,
    and ``previous.state.pt`` the one before it.

    Args:
        folder: of the run.
        resumed_from: the state to resume from; default: the last one.
    """

    def __init__(self, folder: Path, resumed_from: Path | None = None) -> None:
        self.folder = folder
        self.settings = folder / "settings.yaml"
        self.preset = folder / "preset.yaml"
        self.provenance = folder / "provenance.json"
        self.results = folder / "results.csv"
        self.plot = folder / "results.png"
        self.identity = folder / "loggers.json"
        self.best = folder / "best.safetensors"
        self.last = folder / "last.safetensors"
        self.averaged = folder / "averaged.safetensors"
        self.state = folder / f"last{STATE_SUFFIX}"
        self.previous = folder / f"previous{STATE_SUFFIX}"
        self.resumed_from = resumed_from or self.state

    @classmethod
    def create(cls, settings: TrainSettings) -> Run:
        """Make the folder ``project/name``, or the next free number.

        Raises:
            DetectorError: a folder of that name holds a run that can be resumed.
        """
        folder = new_folder(settings.project, settings.name)
        run = cls(folder)
        if run.state.exists() or run.previous.exists():
            raise DetectorError(
                f"holds a run already; choose another --name, or resume it: --resume {folder}",
                file=folder,
            )
        run.identity.unlink(missing_ok=True)  # of a run that came to no checkpoint
        return run

    @classmethod
    def find(cls, resume: str, project: Path) -> Run:
        """Find the run of that folder or state file; ``last`` is the newest one.

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
            f"has no checkpoint to resume from ({run.state.name}); start it again", file=path
        )

    def claim(self) -> None:
        """Hold the folder for this process until it ends, or :func:`release_folders`.

        Raises:
            DetectorError: another process trains in it.
        """
        if self.folder in _LOCKS:
            return
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise DetectorError(
                "another process trains in this folder; choose another --name, or wait for its end",
                file=self.folder,
            ) from error
        except OSError as error:
            raise DetectorError(f"cannot be locked: {error.strerror}", file=self.folder) from error
        _LOCKS[self.folder] = lock

    def write_settings(self, settings: TrainSettings) -> None:
        """Write the settings for a resumed run; main process only."""
        if not system.is_main():
            return
        values = settings.model_dump(mode="json", exclude={"resume", "json_file", "debug"})
        write_text(self.settings, yaml.safe_dump(values, sort_keys=False))

    def write_provenance(self, values: Mapping[str, Any]) -> None:
        """Write the provenance of the weights; main process only."""
        if system.is_main():
            write_text(self.provenance, json.dumps(values, indent=2) + "\n")

    def read_state(self) -> dict[str, Any]:
        """Read the training state to resume from, and remove unfinished files of a killed process.

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
        """Write the training state, and keep the one before it; main process only."""
        if system.is_main():
            save_training_state(self.state, state, self.previous)

    def save_weights(self, path: Path, model: Detector, training: Mapping[str, Any]) -> None:
        """Write the ``best``, ``last`` or ``averaged`` checkpoint; main process only."""
        if system.is_main():
            save_weights(path, model, training)

    def resume_hint(self) -> str:
        """Return a sentence with the command that resumes the run, if it has a checkpoint."""
        if not self.state.is_file():
            return "there is no checkpoint yet to resume from"
        local = system.local_world_size()
        launcher = "" if local == 1 else f"torchrun --nproc-per-node {local} -m "
        command = f"{launcher}detector train"
        return f"resume with: {command} --resume {shlex.quote(str(self.folder))}"

    def write_results(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write one line per epoch; the whole file each time, so that no line is ever cut."""
        columns = list(dict.fromkeys(key for record in history for key in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for record in history:
            writer.writerow({key: _shown(value) for key, value in record.items()})
        write_text(self.results, text.getvalue())


def release_folders() -> None:
    """Release the folders that this process holds, so that others may train in them."""
    while _LOCKS:
        _LOCKS.popitem()[1].release()


def new_folder(project: Path, name: str | None) -> Path:
    """Make the folder of that name, or of the next number that no other process has taken."""
    try:
        if name is not None:
            (project / name).mkdir(parents=True, exist_ok=True)
            return project / name
        project.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name) for path in project.glob("*") if path.name.isdecimal()]
        for number in count(max(numbers, default=0) + 1):
            with suppress(FileExistsError):
                (project / str(number)).mkdir()
                return project / str(number)
    except OSError as error:
        raise DetectorError(f"cannot be made: {error.strerror}", file=project) from error
    raise AssertionError("numbers do not end")


def settings_digest(settings: TrainSettings) -> str:
    """Return a digest of the settings that a resumed run must share with its state."""
    values = settings.model_dump(mode="json", exclude=THIS_TIME | FROM_NOW_ON | {"name"})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
"""Libraries whose versions the weights depend on."""

PRIVATE = {"project", "name", "json_file", "debug", "resume"}
"""Settings that do not influence the weights."""


def provenance(settings: TrainSettings, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of a run as plain values: commands, settings, data, versions.

    Args:
        settings: of the run.
        data: a fingerprint by split.
    """
    return {
        "commands": [shlex.join(map(public_url, [os.path.basename(sys.argv[0]), *sys.argv[1:]]))],
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
