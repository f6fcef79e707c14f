"""Cross-validation: one training for each fold, and AP on all images, each held out once.

The weights of a fold are those of its best epoch on the validation split, as in any training, so
that no image has a part in the choice of the weights that it is measured with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from detector.data.dataset import DetectionDataset
from detector.data.folds import split_fold
from detector.engine.datasets import open_training_images
from detector.engine.head_settings import class_for
from detector.engine.presets import preset_of
from detector.engine.recipe import given_values, resolve
from detector.engine.run import Run, new_folder
from detector.engine.training import run_training
from detector.evaluation.bootstrap import BootstrapMetrics, bootstrapped
from detector.evaluation.evaluation_set import evaluation_set_of
from detector.evaluation.intervals import RESAMPLES
from detector.model.torch_backend import TorchBackend, choose_device
from detector.settings.evaluate import ValSettings
from detector.settings.train import AUTO_PRESET, NO_PRESET, TrainSettings
from detector.utils import system
from detector.utils.errors import DetectorError, Interrupted
from detector.utils.files import write_text
from detector.utils.yaml_file import read_yaml, validate
from detector.weights.checkpoint import load

FLAGS_FILE = "folds.yaml"
"""File in the folder of a cross-validation with the settings that were given."""

RESULT_FILE = "held_out.json"
"""File in the folder of a fold with its metrics and predictions on the images it held out."""

NOT_KEPT = {"resume", "json_file", "debug", "project", "name"}
"""Settings that a resumed cross-validation has from its own command line."""


@dataclass(frozen=True)
class Fold:
    """A training that held out a part of the images.

    Attributes:
        number: from 1.
        images: number of images that it held out.
        weights: checkpoint of its best epoch.
        metrics: of those weights on the images held out, by name; the main one first.
        predictions: on those images, in COCO's results format.
    """

    number: int
    images: int
    weights: Path
    metrics: dict[str, float]
    predictions: list[dict[str, Any]]


@dataclass(frozen=True)
class CrossValidation:
    """Result of a cross-validation.

    Attributes:
        folder: of the folds' runs.
        folds: one for each training.
        metrics: of the predictions on all images, with intervals: out-of-fold metrics.
        predictions: file of those predictions, COCO JSON, as ``analyse --predictions`` takes it.
    """

    folder: Path
    folds: tuple[Fold, ...]
    metrics: BootstrapMetrics
    predictions: Path

    def mean_and_deviation(self, name: str) -> tuple[float, float]:
        """Return mean and standard deviation of a metric over the folds."""
        values = [fold.metrics[name] for fold in self.folds]
        return mean(values), stdev(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        folds = [
            {"images": fold.images, "weights": str(fold.weights), "metrics": fold.metrics}
            for fold in self.folds
        ]
        summary = {name: self.mean_and_deviation(name) for name in self.folds[0].metrics}
        return {
            "folder": str(self.folder),
            "folds": folds,
            "mean_and_deviation": summary,
            "out_of_fold": self.metrics.to_dict(),
            "predictions": str(self.predictions),
        }


def is_cross_validation(flags: TrainSettings) -> bool:
    """Return whether the flags ask for all folds, or resume such a folder."""
    if flags.resume is not None:
        return (Path(flags.resume) / FLAGS_FILE).is_file()
    return flags.folds is not None and flags.fold is None


def run_folds(flags: TrainSettings) -> CrossValidation:
    """Train once for each fold, or go on where it was stopped, and measure all images.

    Args:
        flags: as they were given, with ``folds``; or ``resume`` with the folder.

    Raises:
        DetectorError: as a training; several processes; the folder holds folds of other settings.
        Interrupted: Ctrl-C or SIGTERM; the message says how to resume.
    """
    if system.world_size() > 1:
        raise DetectorError("--folds trains in one process; give each machine its own --fold")
    flags, resumed = _given(flags)
    flags = flags.model_copy(update={"preset": preset_of(given_values(flags))})
    settings, _ = resolve(flags)
    assert settings.folds is not None
    dataset = open_training_images(settings)
    split_fold(dataset, settings.folds, 1, settings.seed)  # there are enough images
    folder = resumed or _new_folder(flags)
    folds = tuple(
        _fold(number, flags, settings, dataset, folder) for number in range(1, settings.folds + 1)
    )
    evaluation_set = evaluation_set_of(dataset, str(settings.data), library=settings.evaluator)
    evaluation_set.evaluator.results = [one for fold in folds for one in fold.predictions]
    metrics = bootstrapped(
        evaluation_set.evaluator.compute(), evaluation_set, RESAMPLES, settings.seed
    )
    predictions = folder / "out_of_fold.json"
    write_text(predictions, json.dumps(evaluation_set.named_results()))
    return CrossValidation(folder, folds, metrics, predictions)


def _given(flags: TrainSettings) -> tuple[TrainSettings, Path | None]:
    """Return the settings that were given for the folds, and the folder that is resumed, if any."""
    if flags.resume is None:
        return flags, None
    folder = Path(flags.resume)
    file = read_yaml(folder / FLAGS_FILE)
    kind = class_for(file.value if isinstance(file.value, dict) else {})
    kept = validate(kind, file, file.value)
    # A file of an earlier version names no preset: there was none but those that were given.
    return kept.model_copy(update={"preset": kept.preset or NO_PRESET}), folder


def _new_folder(flags: TrainSettings) -> Path:
    """Make the folder of the folds' runs, or take the one that the same settings have begun.

    Raises:
        DetectorError: the folder holds folds of other settings.
    """
    folder = new_folder(flags.project, flags.name)
    values = flags.model_dump(mode="json", include=set(given_values(flags)) - NOT_KEPT)
    text, file_path = yaml.safe_dump(values, sort_keys=True), folder / FLAGS_FILE
    if file_path.exists() and file_path.read_text(encoding="utf-8") != text:
        raise DetectorError(
            f"holds folds of other settings; choose another --name, or go on: --resume {folder}",
            file=folder,
        )
    write_text(file_path, text)
    return folder


def _fold(
    number: int,
    flags: TrainSettings,
    settings: TrainSettings,
    dataset: DetectionDataset,
    folder: Path,
) -> Fold:
    """Train a fold unless it is done, and measure it on what it held out."""
    run = Run(folder / f"fold{number}")
    assert settings.folds is not None
    _, held_out = split_fold(dataset, settings.folds, number, settings.seed)
    result = run.folder / RESULT_FILE
    if not result.is_file():
        _train(run, number, flags, folder)
        evaluation_set = evaluation_set_of(held_out, str(settings.data), library=settings.evaluator)
        backend = TorchBackend(load(run.best), choose_device(settings.device))
        batch: int = ValSettings.model_fields["batch"].default
        metrics = evaluation_set.measure(backend, backend.eval_nms, batch, tiling=settings)
        found = {"metrics": metrics.summary, "predictions": evaluation_set.evaluator.results}
        write_text(result, json.dumps(found))
    content = json.loads(result.read_text(encoding="utf-8"))
    return Fold(number, len(held_out), run.best, content["metrics"], content["predictions"])


def _train(run: Run, number: int, flags: TrainSettings, folder: Path) -> None:
    """Train a fold, or resume its run."""
    if run.state.is_file() or run.previous.is_file():
        asked = type(flags)(resume=str(run.folder))
    else:
        own = {"fold": number, "project": folder, "name": run.folder.name}
        first = Run(folder / "fold1").preset
        if flags.preset == AUTO_PRESET and first.is_file():  # all folds have the same settings
            own["preset"] = str(first)
        asked = flags.model_copy(update=own)
    try:
        run_training(asked)
    except Interrupted as error:
        message = f"stopped in fold {number}; resume with: detector train --resume {folder}"
        raise Interrupted(message, error.signal_number) from error
