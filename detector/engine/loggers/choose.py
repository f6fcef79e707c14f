"""Loggers by the names of ``--log``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from detector.engine.loggers.callback import LoggerCallback
from detector.engine.loggers.logger import Logger
from detector.engine.loggers.mlflow import MLflow
from detector.engine.loggers.tensorboard import TensorBoard
from detector.engine.loggers.wandb import WandB
from detector.settings.values import LoggerName
from detector.utils.errors import DetectorError
from detector.utils.system import DISTRIBUTION

LOGGERS: dict[LoggerName, tuple[type[Logger], str]] = {
    "tensorboard": (TensorBoard, "train"),
    "wandb": (WandB, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}
"""Loggers by name, each with the extra of this distribution that brings the package of that name;
``csv`` is the run's ``results.csv``, which every run has."""


def check_installed(names: Iterable[LoggerName]) -> None:
    """Raise DetectorError for a logger whose package is missing; import nothing.

    Packages such as wandb and mlflow take seconds to import, and read the environment then.
    """
    for name in names:
        if name in LOGGERS and find_spec(name) is None:
            source = f'"{DISTRIBUTION}[{LOGGERS[name][1]}]"'
            raise DetectorError(f"--log {name}: {name} is not installed; run: pip install {source}")


def logger_callbacks(names: Iterable[LoggerName]) -> list[LoggerCallback]:
    """Return a callback for each logger that is named."""
    return [LoggerCallback(LOGGERS[name][0]()) for name in dict.fromkeys(names) if name in LOGGERS]
