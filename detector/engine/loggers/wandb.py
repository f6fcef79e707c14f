"""Weights & Biases, offline unless ``WANDB_MODE`` says otherwise, through accelerate's tracker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from detector.engine.loggers.logger import PROJECT, Logger, RunIdentity

OFFLINE_RUNS = "offline-run-*-{}"
"""Pattern of the folders that wandb writes for a run of that id, one for each process."""

NO_REPORTS = {"WANDB_ERROR_REPORTING": "false"}
"""Environment that stops wandb's own reports of errors to its makers."""

FOLDERS = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
"""Folders that wandb otherwise makes in the home folder."""

EPOCH = "epoch"


class WandB(Logger):
    """Writes the run for W&B into ``FOLDER/wandb``; ``wandb sync`` sends it.

    wandb cannot continue an offline record. That of a resumed run is written anew from the run's
    history, and replaces those of the processes before.
    """

    name: ClassVar[str] = "wandb"

    def open(self, run: RunIdentity, step: int) -> None:
        folder = run.folder.absolute()
        os.environ.update(NO_REPORTS)
        for name in FOLDERS:
            os.environ.setdefault(name, str(folder / "wandb"))
        import wandb
        from accelerate.tracking import WandBTracker

        mode = os.environ.get("WANDB_MODE", "offline")
        self._earlier = _offline_runs(folder, run.id)
        self._tracker = WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=os.environ.get("WANDB_NAME", folder.name),
            dir=str(folder),
            mode=mode,
            resume=None if mode == "offline" else "allow",
            config=dict(run.settings),
            allow_val_change=True,  # a resumed run may have more epochs
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, save_code=False
            ),
        )
        self._tracker.start()
        self._run: Any = self._tracker.tracker
        self._run.define_metric("*", step_metric=EPOCH)
        self._held_epochs = int(self._run.summary.get(EPOCH) or 0)

    def opened(self) -> None:
        for folder in self._earlier:
            shutil.rmtree(folder)

    def holds(self, metric: str, epoch: int) -> bool:
        return epoch <= self._held_epochs

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._tracker.log({EPOCH: epoch, **metrics}, commit=True)

    def log_pictures(self, epoch: int, paths: Iterable[Path]) -> None:
        from wandb import Image

        pictures = {f"pictures/{path.stem}": Image(str(path)) for path in paths}
        self._tracker.log(pictures, commit=True)

    def log_files(self, paths: Iterable[Path]) -> None:
        from wandb import Artifact

        for path in paths:
            kind = "model" if path.suffix == ".safetensors" else "settings"
            artifact = Artifact(f"{path.stem}-{self._run.id}", type=kind)
            artifact.add_file(str(path))
            self._run.log_artifact(artifact)

    def close(self, finished: bool) -> None:
        import wandb

        try:
            self._run.finish(exit_code=0 if finished else 1)
        except Exception:  # its process was killed, and would be asked once more at the exit
            with suppress(Exception):
                wandb.teardown()
            raise


def _offline_runs(folder: Path, run_id: str) -> list[Path]:
    """Return the folders of a run's offline records."""
    return sorted((folder / "wandb").glob(OFFLINE_RUNS.format(run_id)))
