"""``tune``: search for the settings of a training, in a folder that several processes may share."""

from __future__ import annotations

from typing import Any

from detector.cli.refused import refuse
from detector.cli.tables import NOTHING, table
from detector.engine.head_settings import train_settings
from detector.engine.recipe import given_values
from detector.engine.tuning.report import TuningReport
from detector.engine.tuning.run import BEST, run_tuning
from detector.settings.train import TrainSettings
from detector.settings.tune import SearchSettings


def tune(settings: TrainSettings) -> dict[str, Any]:
    """Search, or continue a search; print and return the report.

    Raises:
        DetectorError: the space, the settings or the data are invalid, or optuna is missing.
    """
    refuse(settings, {"resume"}, "the command that started a study continues it")
    given = given_values(settings)
    search = {name: given.pop(name) for name in SearchSettings.model_fields if name in given}
    training = train_settings(**given | {"project": settings.project, "name": settings.name})
    report = run_tuning(SearchSettings(**search), training)
    _print(report)
    return report.to_dict()


def _print(report: TuningReport) -> None:
    """Print the trials, what matters, and what to do with the best one."""
    print(table([list(map(_shown, row)) for row in report.rows()], report.header()))
    print(report.counts())
    for trial in report.trials:
        if trial.error:
            print(f"{trial.name} failed: {trial.error}")
    if report.importance:
        shares = (f"{name} {share:.2f}" for name, share in report.importance.items())
        print(f"importance for {report.monitor}: {', '.join(shares)}")
    if report.best is not None:
        print(f"best {report.monitor} {report.best.metric:.4f}: {report.folder / report.best.name}")
        print(f"next: detector train --preset {report.folder / BEST}")


def _shown(value: object) -> str:
    if value is None:
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
