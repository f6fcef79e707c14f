"""MLflow, in a file unless ``MLFLOW_TRACKING_URI`` names a server, through accelerate's tracker."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock

from detector.engine.loggers.logger import PROJECT, Logger, RunIdentity

STORE = "mlflow"
"""Folder beside the runs that holds ``mlflow.db`` and the files of all of them."""

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""Environment that stops mlflow's own reports to its makers; it is read at the import."""

TAG = "detector.run"
"""Tag of a run whose value is its id, by which a resumed run is found."""

ENDED = {True: "FINISHED", False: "KILLED"}
"""MLflow's states of a run that was finished, and of one that was interrupted."""


class MLflow(Logger):
    """Writes the run into ``PROJECT/mlflow/mlflow.db``, or to the server that is named."""

    name: ClassVar[str] = "mlflow"

    def open(self, run: RunIdentity, step: int) -> None:
        os.environ.update(QUIET)
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        import mlflow
        from accelerate.tracking import MLflowTracker

        store = run.project / STORE
        store.mkdir(exist_ok=True)
        if not mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call, unused-ignore]
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{store / 'mlflow.db'}"
        self._client: Any = mlflow.MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        with FileLock(store / ".lock"):  # two processes cannot make the tables at once
            experiment_id = self._experiment(experiment, store)
        self._earlier = self._client.search_runs([experiment_id], f"tags.`{TAG}` = '{run.id}'")
        os.environ.pop("MLFLOW_RUN_ID", None)  # the run's folder decides
        self._tracker = MLflowTracker(
            experiment,
            run_id=self._earlier[0].info.run_id if self._earlier else None,
            run_name=run.folder.name,
            tags={TAG: run.id},
        )
        self._tracker.start()
        self._run_id = self._tracker.tracker.info.run_id
        if not (self._earlier and self._earlier[0].data.params):
            self._tracker.store_init_configuration(dict(run.settings))
        self._histories: dict[str, set[int]] = {}

    def _experiment(self, name: str, store: Path) -> str:
        """Return the id of the experiment of that name, a new one if there is none."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        is_file = self._client.tracking_uri.startswith("sqlite:")
        location = (
            (store / "files").as_uri() if is_file else None
        )  # a server has a place of its own
        return str(self._client.create_experiment(name, artifact_location=location))

    def holds(self, metric: str, epoch: int) -> bool:
        if not self._earlier:
            return False
        if metric not in self._histories:
            history = self._client.get_metric_history(self._run_id, metric)
            self._histories[metric] = {one.step for one in history}
        return epoch in self._histories[metric]

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._tracker.log(dict(metrics), step=epoch)

    def log_pictures(self, epoch: int, paths: Iterable[Path]) -> None:
        for path in paths:
            self._tracker.log_artifact(str(path), "pictures")

    def log_files(self, paths: Iterable[Path]) -> None:
        for path in paths:
            self._tracker.log_artifact(str(path))

    def close(self, finished: bool) -> None:
        import mlflow

        mlflow.end_run(ENDED[finished])
