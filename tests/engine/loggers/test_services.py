"""W&B offline, MLflow in a file, TensorBoard and CSV in one run, read back with their packages.

Run ``python -m pytest -m heavy -n 0 tests/engine/loggers``; it needs the extras wandb and mlflow.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.engine.loggers.tensorboard import epochs_held
from detector.weights.checkpoint import load

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import json, logging, os, signal, sys
from detector.engine.callbacks import Callback
from detector.engine.head_settings import train_settings
from detector.engine.training import run_training

values, epoch = json.loads(sys.argv[1])
logging.basicConfig()

class Kill(Callback):
    def on_epoch(self, event):
        if event.record["epoch"] == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

print(run_training(train_settings(**values), [Kill()]).best_epoch)
"""
"""A training that kills itself after an epoch that all loggers were told of; 0: it does not."""

BEFORE = PROGRAM.replace(
    "print(run_training(train_settings(**values), [Kill()]).best_epoch)",
    """from detector.engine.trainer import Trainer
fit = Trainer.fit
def fit_until_killed(self):
    self.callbacks.insert(0, Kill())
    return fit(self)
Trainer.fit = fit_until_killed
run_training(train_settings(**values))""",
)
"""The same, killed after the checkpoint of the epoch and before any logger was told of it."""

SERVICES = ("wandb", "mlflow", "tensorboard", "csv")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who set nothing for these services, in a home of their own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_", "CI"))}
    home = tmp_path / "home"
    home.mkdir()
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)}


Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def train(tiny_cfg: Path, tiny_data: Path, tmp_path: Path, environment: dict[str, str]) -> Train:
    for name in ("wandb", "mlflow"):
        pytest.importorskip(name)
    new = {"cfg": str(tiny_cfg), "data": str(tiny_data), "name": "a", "log": SERVICES}
    few = {"epochs": 4, "batch": 4, "nominal_batch": 4, "device": "cpu", "workers": 0}

    def train(
        *tracer: str, program: str = PROGRAM, kill: int = 0, resume: bool = False, **values: Any
    ) -> subprocess.CompletedProcess[str]:
        given = {"resume": str(tmp_path / "runs" / "a")} if resume else new | few
        given |= {"project": str(tmp_path / "runs"), **values}
        return subprocess.run(
            [*tracer, sys.executable, "-c", program, json.dumps([given, kill])],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
            timeout=300,
        )

    return train


# ------------------------------------------------------------------- each service, by its package


def wandb_payloads(data: bytes) -> Iterator[bytes]:
    """Payloads of a record file: 7 bytes of header, then LevelDB's log of blocks of 32 KiB.

    A piece has 4 bytes of checksum, 2 of length, 1 of kind: 1 whole, 2 first, 3 middle, 4 last.
    """
    assert data[:4] == b":W&B"
    place, payload = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # a header would not fit: the block ends with zeros
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        payload += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield payload
            payload = b""


def wandb_records(run: Path) -> list[Any]:
    """All records in a run's offline folders, in the order of the files, by wandb's messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [
        Record.FromString(payload)
        for path in sorted((run / "wandb").glob("offline-run-*/*.wandb"))
        for payload in wandb_payloads(path.read_bytes())
    ]


def wandb_rows(run: Path) -> list[dict[str, Any]]:
    """Rows of history in a run's offline folders."""
    return [
        {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
        for record in wandb_records(run)
        if record.WhichOneof("record_type") == "history"
    ]


def mlflow_run(project: Path) -> tuple[Any, Any]:
    """The client of a project's store, and its only run."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow' / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "detector"]
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def check_epochs(run: Path, epochs: list[int]) -> None:
    """Each service holds these epochs, each once, with the values of results.csv."""
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert [int(row["epoch"]) for row in rows] == epochs
    history = [row for row in wandb_rows(run) if "seconds" in row]
    assert [row["epoch"] for row in history] == epochs
    client, kept = mlflow_run(run.parent)
    for name in rows[0].keys() - {"epoch"}:
        expected = [float(row[name]) for row in rows]
        assert [row[name] for row in history] == pytest.approx(expected, rel=1e-6)
        points = client.get_metric_history(kept.info.run_id, name)
        assert [point.step for point in points] == epochs
        assert [point.value for point in points] == pytest.approx(expected, rel=1e-6)
        assert {(f"epoch/{name}", epoch) for epoch in epochs} <= epochs_held(run)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run)).Reload()
    assert [event.step for event in events.Scalars("epoch/AP")] == epochs


# ------------------------------------------------------------------------------------------ tests


@pytest.mark.parametrize(("program", "known"), [(PROGRAM, 2), (BEFORE, 1)])
def test_a_kill_and_a_resume(program: str, known: int, train: Train, tmp_path: Path):
    """Killed when all know of epoch 2; or when its checkpoint is written and none knows of it."""
    killed = train(program=program, kill=2)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = tmp_path / "runs" / "a"
    client, before = mlflow_run(run.parent)
    points = client.get_metric_history(before.info.run_id, "AP")
    assert [point.step for point in points] == list(range(1, known + 1))
    resumed = train(resume=True)
    assert resumed.returncode == 0, resumed.stderr
    check_epochs(run, [1, 2, 3, 4])
    client, after = mlflow_run(run.parent)
    assert after.info.run_id == before.info.run_id
    assert after.info.status == "FINISHED"
    assert after.data.params["batch"] == "4"
    files = {file.path for file in client.list_artifacts(after.info.run_id)}
    assert files == {"best.safetensors", "settings.yaml", "pictures"}
    fetched = client.download_artifacts(after.info.run_id, "best.safetensors", str(tmp_path))
    assert Path(fetched).read_bytes() == (run / "best.safetensors").read_bytes()
    assert load(Path(fetched)).names == ("red", "green")
    records = wandb_records(run)
    kinds = {record.WhichOneof("record_type") for record in records}
    assert {"run", "history", "artifact"} <= kinds
    run_id = json.loads((run / "loggers.json").read_text())["id"]
    kept = {r.artifact.name for r in records if r.WhichOneof("record_type") == "artifact"}
    assert kept == {f"best-{run_id}", f"settings-{run_id}"}
    ids = {record.run.run_id for record in records if record.HasField("run")}
    assert ids == {run_id}
    assert {"pictures/val_best/path", "pictures/train_1/path"} <= set().union(*wandb_rows(run))


def test_more_epochs(train: Train, tmp_path: Path):
    assert train(epochs=2).returncode == 0
    check_epochs(tmp_path / "runs" / "a", [1, 2])
    done = train(resume=True, epochs=3)
    assert done.returncode == 0, done.stderr
    assert "--log" not in done.stderr
    check_epochs(tmp_path / "runs" / "a", [1, 2, 3])


def test_no_word_to_the_internet(train: Train, tmp_path: Path, environment: dict[str, str]):
    """No connection but between processes of this machine, and no file in the home folder.

    urllib3, which both packages import, asks the system at its import whether it knows IPv6: it
    binds a socket to ::1 and closes it. Nothing is sent or connected.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    calls = "trace=socket,connect,bind,sendto,sendmsg"
    done = train("strace", "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(log))
    assert done.returncode == 0, done.stderr
    lines = log.read_text(errors="replace").splitlines()
    assert any("AF_UNIX" in line for line in lines)
    found = [line.partition(" ")[2].strip() for line in lines if "AF_INET" in line]
    probe = re.compile(r"socket\(AF_INET6, SOCK_STREAM|bind\(\d+, .*inet_pton\(AF_INET6, \"::1\"")
    assert [line for line in found if not probe.match(line)] == []
    assert len(found) <= 2
    assert [path.name for path in Path(environment["HOME"]).rglob("*") if path.is_file()] == []


KILL_SERVICE = PROGRAM.replace(
    "os.kill(os.getpid(), signal.SIGKILL)",
    """import psutil
            for child in psutil.Process().children(recursive=True):
                if "wandb-core" in child.name():
                    child.kill()""",
)


def test_a_killed_service(train: Train, tmp_path: Path):
    """The process of wandb is killed in the middle; the run ends, and a resume completes it."""
    done = train(program=KILL_SERVICE, kill=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--log wandb: failed after epoch 3 and is left out") == 1
    assert "Traceback" not in done.stderr
    assert train(resume=True).returncode == 0
    check_epochs(tmp_path / "runs" / "a", [1, 2, 3, 4])
