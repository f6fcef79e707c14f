"""A search from settings to report: trials are trainings, each in a folder of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.engine.callbacks import Callback, Epoch, Start
from detector.engine.head_settings import head_of, train_settings
from detector.engine.loggers.callback import described
from detector.engine.presets import preset_text
from detector.engine.recipe import given_values, resolve
from detector.engine.run import FROM_NOW_ON, PRIVATE, THIS_TIME, Record, Run
from detector.engine.tasks import task_of
from detector.engine.training import run_training
from detector.engine.tuning.report import ERROR, TuningReport, make_report
from detector.engine.tuning.space import Space, check_not_given, read_space
from detector.engine.tuning.study import Claim, SharedStudy
from detector.report.page import write_page
from detector.settings.train import AUTO_PRESET, NO_PRESET, TrainSettings
from detector.settings.tune import SearchSettings, Value
from detector.settings.values import typed_text
from detector.utils import system
from detector.utils.errors import DetectorError, Interrupted, shown
from detector.utils.files import read_text, write_text
from detector.utils.yaml_file import MAX_YAML_BYTES, read_yaml

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

STUDY = "study.json"
"""Name of the file with the space and the settings of a study."""
REPORT = "report.json"
BEST = "best.yaml"
"""Name of the preset with the settings of the best trial."""

AUTO_IN_TRIALS = (
    "--preset auto chooses for one training, and all trials share their settings: train once with "
    "it, and give the file that it writes, as --preset runs/train/1/preset.yaml"
)

MAX_FAILED_IN_A_ROW = 3
"""Number of consecutive failed trials after which a process stops."""


def run_tuning(search: SearchSettings, given: TrainSettings) -> TuningReport:
    """Do what is left of a study's trials, and report on all of them.

    Several processes may work on a study at the same time. Each one ends when no trial is left to
    be taken.

    Args:
        search: the space, and the number of trials.
        given: settings of the training, as they were given; its name is that of the study.

    Raises:
        DetectorError: optuna is missing, the space does not fit, the folder holds another study,
            or several trials in a row failed.
        Interrupted: Ctrl-C or SIGTERM; the same command continues.
    """
    system.require("optuna", "tune")
    if system.world_size() > 1:
        raise DetectorError("tune: expected one process; start it several times instead")
    if given.folds is not None and given.fold is None:
        raise DetectorError("--folds: a search trains each trial once; omit it, or give one --fold")
    if given.preset == AUTO_PRESET:
        raise DetectorError(AUTO_IN_TRIALS)
    folder = given.project / str(given.name)
    training = {"preset": NO_PRESET, **given_values(given)}
    complete = _complete(training)
    space = read_space(search.space, complete)
    check_not_given(space, given, search.space)
    _open_folder(folder, space, complete)
    shared = SharedStudy(folder, space, complete.seed, search.trials)
    head = head_of(training)
    assert head is not None, "resolve has refused a training of nothing"
    monitor = complete.monitor or task_of(head).metrics[0]
    _do_trials(shared, training, search.prune, monitor)
    report = write_report(shared, monitor)
    if search.html is not None:
        write_page(search.html, report.page())
    return report


def _do_trials(shared: SharedStudy, training: Mapping[str, Any], prune: bool, monitor: str) -> None:
    """Train trials until none is left to be taken.

    Raises:
        DetectorError: several in a row failed, so that the reason is hardly in their settings.
    """
    failed_in_a_row = 0
    while (claim := shared.take()) is not None:
        try:
            error = _train(shared, claim, training, prune)
        except Interrupted as stop:
            message = f"stopped; the same command continues the study in {shared.folder}"
            raise Interrupted(message, stop.signal_number) from None
        finally:
            claim.lock.release()
        write_report(shared, monitor)
        failed_in_a_row = failed_in_a_row + 1 if error else 0
        if failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            raise DetectorError(f"{failed_in_a_row} trials in a row failed, the last one: {error}")


def _complete(training: Mapping[str, Any]) -> TrainSettings:
    """Return the settings that all trials share, completed by data set and preset."""
    return resolve(train_settings(**training))[0]


def _open_folder(folder: Path, space: Space, complete: TrainSettings) -> None:
    """Make the folder of a study, or check that it holds this one.

    Raises:
        DetectorError: it holds a study of another space or of other settings.
    """
    ignored = PRIVATE | THIS_TIME | FROM_NOW_ON - {"epochs"}
    study = {
        "space": {name: values.model_dump(mode="json") for name, values in space.items()},
        "settings": complete.model_dump(mode="json", exclude=ignored),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DetectorError(f"cannot be made: {error.strerror}", file=folder) from error
    path = folder / STUDY
    if not path.exists():
        write_text(path, json.dumps(study, indent=1) + "\n")
        return
    try:
        before = json.loads(read_text(path, MAX_YAML_BYTES, "a study"))
        differences = [text for part in study for text in _differ(part, before[part], study[part])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DetectorError(f"is no study: {error}", file=path) from error
    if differences:
        message = f"holds a study with another {differences[0]}; choose another --name"
        raise DetectorError(message, file=folder)
    logger.info(f"study {folder}: continued")


def _differ(part: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings or ranges in which two studies differ, with both values."""
    what = "range of " if part == "space" else ""
    for name in {**before, **now}:
        there, here = before.get(name), now.get(name)
        if there != here:
            yield f"{what}{name}: {shown(there)} there, {shown(here)} here"


def _train(shared: SharedStudy, claim: Claim, training: Mapping[str, Any], prune: bool) -> str:
    """Train a trial, or the rest of it; record how it ended, and return its error or ""."""
    import optuna

    values = ", ".join(f"{name} {typed_text(value)}" for name, value in claim.values.items())
    logger.info(f"{claim.name} of {shared.total} trials: {values}")
    reports = Reports(claim.trial, prune)
    try:
        run_training(_trial_settings(shared.folder, claim, training), [reports])
    except optuna.TrialPruned:
        logger.info(f"{claim.name}: pruned after epoch {max(reports.metrics)}")
        shared.finish(claim, "PRUNED")
    except Exception as error:  # of any library: memory that is not enough for a batch, say
        message = str(error) if isinstance(error, DetectorError) else described(error)
        logger.warning(f"{claim.name}: failed: {message}")
        claim.trial.set_user_attr(ERROR, message)
        shared.finish(claim, "FAIL")
        return message
    else:
        shared.finish(claim, "COMPLETE", max(reports.metrics.values()))
    return ""


def _trial_settings(folder: Path, claim: Claim, training: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of a trial's training, or those that resume it."""
    run = Run(folder / claim.name)
    if run.state.exists() or run.previous.exists():
        kept = {name: value for name, value in training.items() if name in THIS_TIME}
        return train_settings(**kept | {"resume": str(run.folder), "project": folder})
    values: dict[str, Value] = dict(claim.values)
    return train_settings(**{**training, **values, "project": folder, "name": claim.name})


class Reports(Callback):
    """Tells Optuna the metric of each validated epoch, and ends a trial that it prunes.

    Args:
        trial: Optuna's; it may know of earlier epochs.
        prune: ask whether to end it.

    Attributes:
        metrics: by the number of the epoch.
    """

    def __init__(self, trial: optuna.Trial, prune: bool) -> None:
        self.trial = trial
        self.prune = prune
        self.metrics: dict[int, float] = {}

    def on_start(self, start: Start) -> None:
        self.monitor = start.monitor
        self.epochs = start.settings.epochs
        self.known = self._known()
        for record in start.history:
            self._report(record)

    def on_epoch(self, epoch: Epoch) -> None:
        self._report(epoch.record)

    def _known(self) -> set[int]:
        trials = self.trial.study.get_trials(deepcopy=False)
        return set(trials[self.trial.number].intermediate_values)

    def _report(self, record: Record) -> None:
        import optuna

        if self.monitor not in record:
            return
        epoch = int(record["epoch"])
        self.metrics[epoch] = record[self.monitor]
        if epoch not in self.known:
            self.trial.report(record[self.monitor], epoch)
        if self.prune and epoch < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned


def write_report(shared: SharedStudy, monitor: str) -> TuningReport:
    """Write the report of a study and the preset of its best trial into its folder."""
    with shared.lock:
        report = make_report(shared.study, shared.trials, shared.folder, monitor)
        write_text(shared.folder / REPORT, json.dumps(report.to_dict(), indent=1) + "\n")
        if report.best is not None:
            write_text(shared.folder / BEST, _preset(report))
    return report


def _preset(report: TuningReport) -> str:
    """Return the text of a preset with all settings of the best trial."""
    assert report.best is not None
    settings = read_yaml(Run(report.folder / report.best.name).settings).value
    comment = f"{report.best.name}, the best trial: {report.monitor} {report.best.metric:.4f}"
    return preset_text(settings, comment)
