"""A search from command line to preset, with trainings of a second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from detector.cli import run_tool
from detector.engine.head_settings import train_settings
from detector.engine.trainer import Trainer
from detector.engine.training import run_training
from detector.engine.tuning.report import TuningReport
from detector.engine.tuning.run import BEST, REPORT, Reports, run_tuning
from detector.settings.tune import SearchSettings
from detector.utils.errors import DetectorError, Interrupted

optuna = pytest.importorskip("optuna")

ROOT = Path(__file__).resolve().parents[3]

Search = Callable[..., TuningReport]


@pytest.fixture
def words(training: dict[str, Any], space: str) -> list[str]:
    """The command line of a search."""
    flags = ["--space", space]
    for name, value in training.items():
        flag = f"--{name.replace('_', '-')}"
        flags += ["--no-pictures"] if value is False else [flag, str(value)]
    return flags


@pytest.fixture
def search(training: dict[str, Any], space: str, no_plot: None) -> Search:
    def search(trials: int, prune: bool = True, **values: Any) -> TuningReport:
        asked = SearchSettings(space=space, trials=trials, prune=prune)
        return run_tuning(asked, train_settings(**{**training, **values}))

    return search


def test_from_search_to_preset(
    words: list[str],
    training: dict[str, Any],
    tmp_path: Path,
    no_plot: None,
    capsys: pytest.CaptureFixture[str],
):
    html, found = tmp_path / "study.html", tmp_path / "found.json"
    flags = [*words, "--trials", "2", "--html", str(html), "--json", str(found)]
    assert run_tool("tune", flags) == 0, capsys.readouterr().err
    report, printed = json.loads(found.read_text()), capsys.readouterr().out
    study = tmp_path / "s"
    assert json.loads((study / REPORT).read_text()) == report
    assert [trial["state"] for trial in report["trials"]] == ["complete", "complete"]
    assert report["monitor"] == "AP"
    assert "2 trials: 2 complete" in printed
    best = report["best"]
    assert best["metric"] == max(trial["metric"] for trial in report["trials"])
    assert f"next: detector train --preset {study / BEST}" in printed
    assert "<table" in html.read_text()
    assert "trial_1" in html.read_text()

    rates = [trial["settings"]["learning_rate"] for trial in report["trials"]]
    digests = set()
    for trial, rate in zip(report["trials"], rates, strict=True):
        run = study / trial["name"]
        assert yaml.safe_load((run / "settings.yaml").read_text())["learning_rate"] == rate
        assert (run / "results.csv").is_file()
        digests.add((run / "last.safetensors").read_bytes()[-4096:])
    assert len(set(rates)) == len(digests) == 2, "trials differ"

    preset = yaml.safe_load((study / BEST).read_text())
    assert {name: preset[name] for name in best["settings"]} == best["settings"]
    again = run_training(
        train_settings(
            preset=str(study / BEST), device="cpu", workers=0, pictures=False, project=tmp_path
        )
    )
    assert again.metrics["AP"] == best["metric"]


def test_a_search_goes_on_to_its_total(search: Search, tmp_path: Path):
    first = search(1)
    assert [trial.name for trial in first.trials] == ["trial_0"]
    again = search(1)
    assert again.trials == first.trials
    with pytest.raises(DetectorError) as error:
        search(1, epochs=3)
    assert str(error.value) == (
        f"{tmp_path / 's'}: holds a study with another epochs: 2 there, 3 here; choose another "
        "--name"
    )


def test_another_space(
    search: Search, training: dict[str, Any], write_space: Callable[[str], str], tmp_path: Path
):
    search(1)
    other = write_space("momentum: {kind: float, low: 0.5, high: 0.9}\n")
    with pytest.raises(DetectorError, match="holds a study with another range of"):
        run_tuning(SearchSettings(space=other, trials=2), train_settings(**training))


def test_what_is_refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cases = [
        (words[2:], "--space is missing"),
        ([*words, "--resume"], "--resume: the command that started a study continues it; omit it"),
        ([*words, "--trial", "3"], "unknown flag '--trial'; did you mean '--trials'?"),
        ([*words, "--n-trials", "3"], "unknown flag '--n-trials': use --trials"),
        ([*words, "--momentum", "0.9"], f"--momentum: {words[1]} searches momentum, too; expected"),
        (
            [*words, "--folds", "3"],
            "--folds: a search trains each trial once; omit it, or give one",
        ),
        ([*words, "--dfl-gain", "1"], "--dfl-gain is a setting of DFLHead and other heads"),
    ]
    for flags, message in cases:
        assert run_tool("tune", flags) == 2
        assert f"error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_optuna_is_missing(search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(DetectorError) as error:
        search(1)
    assert str(error.value) == ('optuna is not installed; run: pip install "repdet[tune]"')
    assert not (tmp_path / "s").exists()


def test_trials_that_fail(search: Search, tmp_path: Path):
    """A metric that does not exist fails every trial; three of them are enough to say so."""
    with pytest.raises(DetectorError) as error:
        search(9, monitor="APP")
    assert str(error.value).startswith(
        "3 trials in a row failed, the last one: --monitor APP: no such metric"
    )
    report = json.loads((tmp_path / "s" / REPORT).read_text())
    assert [trial["state"] for trial in report["trials"]] == ["failed"] * 3
    assert report["trials"][0]["error"].startswith("--monitor APP: no such metric")
    assert report["best"] is None


def test_a_stop_is_continued(search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As Ctrl-C after the first step, which the run saves; the trial is then trained to its end."""
    train_step = Trainer.train_step

    def stopped(self: Trainer, *values: Any) -> Any:
        step = train_step(self, *values)
        self.stop._note(signal.SIGINT, None)
        return step

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped)
        with pytest.raises(Interrupted) as stop:
            search(1)
    assert stop.value.signal_number == signal.SIGINT
    assert str(stop.value) == f"stopped; the same command continues the study in {tmp_path / 's'}"
    (trial,) = search(1).trials
    assert (trial.name, trial.state, trial.epochs) == ("trial_0", "complete", 2)
    other = search(1, name="undisturbed").trials[0]
    assert (other.settings, other.metric) == (trial.settings, trial.metric)


class Known:
    """A trial of Optuna's in memory, which is pruned below a metric."""

    number = 0

    def __init__(self, known: dict[int, float], limit: float) -> None:
        self.reported = dict(known)
        frozen = SimpleNamespace(intermediate_values=dict(known))
        self.study = SimpleNamespace(get_trials=lambda deepcopy: [frozen])
        self.limit = limit

    def report(self, value: float, epoch: int) -> None:
        assert epoch not in self.reported
        self.reported[epoch] = value

    def should_prune(self) -> bool:
        return self.reported[max(self.reported)] < self.limit


def event(**values: Any) -> Any:
    return SimpleNamespace(monitor="AP", settings=SimpleNamespace(epochs=4), **values)


def test_a_resumed_trial_reports_each_epoch_once():
    """Optuna knows of epoch 1; the run was killed after epoch 3; epoch 2 was not validated."""
    trial = Known({1: 0.1}, 0)
    reports = Reports(trial, True)
    history = [{"epoch": 1, "AP": 0.1}, {"epoch": 2}, {"epoch": 3, "AP": 0.3}]
    reports.on_start(event(history=history))
    reports.on_epoch(SimpleNamespace(record={"epoch": 4, "AP": 0.2}))
    assert trial.reported == {1: 0.1, 3: 0.3, 4: 0.2}
    assert max(reports.metrics.values()) == 0.3


def test_pruning():
    reports = Reports(Known({}, 0.5), True)
    reports.on_start(event(history=[]))
    reports.on_epoch(SimpleNamespace(record={"epoch": 1, "AP": 0.6}))
    with pytest.raises(optuna.TrialPruned):
        reports.on_epoch(SimpleNamespace(record={"epoch": 2, "AP": 0.4}))
    reports.on_epoch(SimpleNamespace(record={"epoch": 4, "AP": 0.4}))  # the last: it is complete
    calm = Reports(Known({}, 0.5), False)
    calm.on_start(event(history=[]))
    calm.on_epoch(SimpleNamespace(record={"epoch": 2, "AP": 0.4}))


# ------------------------------------------------------------------------------- several processes


@pytest.mark.slow
def test_twelve_trials_two_processes_and_two_kills(words: list[str], tmp_path: Path):
    """Both processes are killed twice, and started again: 12 trials, none lost, none twice."""
    command = [sys.executable, "-m", "detector", "tune", *words, "--trials", "12"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def started() -> list[subprocess.Popen[str]]:
        return [
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                cwd=ROOT,
            )
            for _ in range(2)
        ]

    study = tmp_path / "s"
    for finished in (2, 6):
        processes = started()
        deadline = time.monotonic() + 400
        while count_finished(study) < finished and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    outputs = []
    for process in started():
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        outputs.append(output)
    assert any("12 trials:" in output for output in outputs)
    report = json.loads((study / REPORT).read_text())
    names = [trial["name"] for trial in report["trials"]]
    assert names == [f"trial_{number}" for number in range(12)]
    assert {trial["state"] for trial in report["trials"]} <= {"complete", "pruned"}
    assert sorted(path.name for path in study.glob("trial_*")) == sorted(names)
    assert len({trial["settings"]["learning_rate"] for trial in report["trials"]}) == 12
    for trial in report["trials"]:
        rows = (study / trial["name"] / "results.csv").read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == [str(n + 1) for n in range(trial["epochs"])]
    again = run_training(
        train_settings(
            preset=str(study / BEST), device="cpu", workers=0, pictures=False, project=tmp_path
        )
    )
    assert again.metrics["AP"] == report["best"]["metric"]


def count_finished(study: Path) -> int:
    path = study / REPORT
    if not path.is_file():
        return 0
    trials = json.loads(path.read_text())["trials"]
    return sum(trial["state"] != "running" for trial in trials)
