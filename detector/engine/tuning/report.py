"""What a study found: its trials, the best one, and how much each setting matters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.engine.tuning.study import trial_name
from detector.report.page import Cell, Page, Section, Table
from detector.settings.tune import Value

if TYPE_CHECKING:
    import optuna

WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
"""States of a trial as reports name them, by Optuna's names."""

ERROR = "error"
"""Attribute of a failed trial that holds the message."""


@dataclass(frozen=True)
class TrialReport:
    """One trial.

    Attributes:
        name: of its run, and of the run's folder in that of the study.
        state: complete, pruned, failed or running.
        metric: the best of its epochs; a pruned trial's last one; None before the first.
        epochs: that were validated.
        settings: values of those that are searched.
        error: of a failed trial.
    """

    name: str
    state: str
    metric: float | None
    epochs: int
    settings: Mapping[str, Value]
    error: str = ""


@dataclass(frozen=True)
class TuningReport:
    """A study so far.

    Attributes:
        folder: of the study.
        monitor: name of the metric.
        trials: in the order of their numbers.
        best: the best of the complete trials, the first among equals; None before there is one.
        importance: share of each setting in the differences of the metric, where it can be told:
            two or more complete trials that differ.
    """

    folder: Path
    monitor: str
    trials: Sequence[TrialReport]
    best: TrialReport | None
    importance: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "folder": str(self.folder)}

    def count(self, state: str) -> int:
        """Return the number of trials in a state."""
        return sum(trial.state == state for trial in self.trials)

    def counts(self) -> str:
        """Return the number of trials in each state as text."""
        states = (f"{self.count(word)} {word}" for word in WORDS.values() if self.count(word))
        return f"{len(self.trials)} trials: {', '.join(states)}"

    def rows(self) -> list[list[Cell]]:
        """Return a row of values for each trial, the best ones first; see :meth:`header`."""
        names = self._searched()
        ranked = sorted(self.trials, key=lambda t: (t.state != "complete", -_metric(t)))
        return [
            [t.name, t.state, t.metric, t.epochs, *(t.settings.get(name) for name in names)]
            for t in ranked
        ]

    def header(self) -> list[str]:
        """Return the titles of the columns of :meth:`rows`."""
        return ["trial", "state", self.monitor, "epochs", *self._searched()]

    def _searched(self) -> list[str]:
        return list(dict.fromkeys(name for trial in self.trials for name in trial.settings))

    def page(self) -> Page:
        """Return the report as an HTML page."""
        importance = list(self.importance.items())
        return Page(
            f"Study {self.folder.name}",
            [
                Section("Trials", self.counts(), [Table(self.header(), self.rows())]),
                Section(
                    "Importance",
                    f"Share of each setting in the differences of {self.monitor}.",
                    [Table(["setting", "share"], importance)],
                ),
            ],
            f"The best trial: {self.best.name}" if self.best else "No trial is complete.",
        )


def make_report(
    study: optuna.Study,
    trials: Sequence[optuna.trial.FrozenTrial],
    folder: Path,
    monitor: str,
) -> TuningReport:
    """Return the report of a study."""
    reports = [_trial_report(trial) for trial in trials]
    complete = [report for report in reports if report.state == "complete"]
    best = max(complete, key=_metric, default=None)
    return TuningReport(folder, monitor, reports, best, _importance(study, complete))


def _trial_report(trial: optuna.trial.FrozenTrial) -> TrialReport:
    values = trial.intermediate_values
    return TrialReport(
        name=trial_name(trial.number),
        state=WORDS[trial.state.name],
        metric=trial.value if trial.value is not None else max(values.values(), default=None),
        epochs=len(values),
        settings=dict(trial.params),
        error=str(trial.user_attrs.get(ERROR, "")),
    )


def _metric(trial: TrialReport) -> float:
    """Return the metric of a trial as a number that orders it."""
    return -math.inf if trial.metric is None else trial.metric


def _importance(study: optuna.Study, complete: Sequence[TrialReport]) -> dict[str, float]:
    """Return the importance of each setting, or nothing where the trials do not tell."""
    if len({report.metric for report in complete}) < 2:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
