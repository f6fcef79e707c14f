"""Trials of a study: each one once, whoever is killed."""

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.engine.tuning.study import JOURNAL, Claim, SharedStudy
from detector.settings.tune import Range
from detector.utils.errors import DetectorError

optuna = pytest.importorskip("optuna")

SPACE = {
    "x": Range(kind="float", low=0, high=1),
    "n": Range(kind="int", low=1, high=9),
    "c": Range(kind="choice", values=("a", "b")),
}


def study(folder: Path, total: int = 4, seed: int = 0) -> SharedStudy:
    return SharedStudy(folder, SPACE, seed, total)


def finish(shared: SharedStudy, claim: Claim) -> None:
    shared.finish(claim, "COMPLETE", float(claim.values["x"]))


def taken(shared: SharedStudy) -> list[Claim]:
    """All trials, each finished before the next is taken."""
    found = []
    while (claim := shared.take()) is not None:
        finish(shared, claim)
        found.append(claim)
    return found


def test_the_total(tmp_path: Path):
    assert [claim.name for claim in taken(study(tmp_path))] == [
        "trial_0",
        "trial_1",
        "trial_2",
        "trial_3",
    ]
    assert taken(study(tmp_path)) == []
    assert [claim.name for claim in taken(study(tmp_path, 5))] == ["trial_4"]
    states = {trial.state for trial in study(tmp_path).trials}
    assert states == {optuna.trial.TrialState.COMPLETE}


def test_trials_differ(tmp_path: Path):
    values = [claim.values for claim in taken(study(tmp_path, 12))]
    assert len({value["x"] for value in values}) == 12
    assert all(0 <= value["x"] <= 1 and 1 <= value["n"] <= 9 for value in values)


def test_the_seed_decides(tmp_path: Path):
    """Twelve trials: the first ten are drawn, the others follow from the metrics before."""
    values = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        values.append([claim.values for claim in taken(study(tmp_path / name, 12, seed))])
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_a_restart_changes_no_proposal(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
    at_once = [claim.values for claim in taken(study(tmp_path / "a", 12))]
    in_parts = []
    for total in (5, 11, 12):
        in_parts += [claim.values for claim in taken(study(tmp_path / "b", total))]
    assert in_parts == at_once


def test_two_processes_have_trials_of_their_own(tmp_path: Path):
    one, other = study(tmp_path, 3), study(tmp_path, 3)
    claims = [one.take(), other.take(), one.take()]
    assert [claim.name for claim in claims if claim] == ["trial_0", "trial_1", "trial_2"]
    assert other.take() is None
    assert one.take() is None


KILLED = """
import os, sys
from pathlib import Path
from detector.engine.tuning.study import SharedStudy
from detector.settings.tune import Range
space = {"x": Range(kind="float", low=0, high=1)}
claim = SharedStudy(Path(sys.argv[1]), space, 0, 2).take()
claim.trial.report(0.25, 1)
print(claim.name, claim.values["x"], flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_trial_of_a_killed_process_is_continued(tmp_path: Path):
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == -9, done.stderr
    name, x = done.stdout.split()
    shared = SharedStudy(tmp_path, {"x": SPACE["x"]}, 0, 2)
    claim = shared.take()
    assert claim is not None
    assert (claim.name, claim.values["x"]) == (name, float(x)) == ("trial_0", float(x))
    assert shared.trials[0].intermediate_values == {1: 0.25}
    finish(shared, claim)
    assert [claim.name for claim in taken(shared)] == ["trial_1"]
    assert [trial.number for trial in shared.trials] == [0, 1]


def test_a_kill_before_the_proposals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The trial has a number and no values: the next process proposes what the first would have."""
    (tmp_path / "other").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("detector.engine.tuning.study.propose", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study(tmp_path).take()
    gc.collect()  # as the end of the process releases its locks
    values = [claim.values for claim in taken(study(tmp_path))]
    assert values == [claim.values for claim in taken(study(tmp_path / "other"))]


def test_a_line_that_a_full_disk_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    taken(study(tmp_path, 2))
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"work')
    with caplog.at_level(logging.WARNING):
        assert [claim.name for claim in taken(study(tmp_path, 3))] == ["trial_2"]
    assert caplog.messages[0] == (
        f"{path}: the last line is cut; what was not recorded is done again"
    )
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("content", [b"no journal\n", b"[1]\n", b'{"op_code": 99}\n'])
def test_a_foreign_journal(content: bytes, tmp_path: Path):
    (tmp_path / JOURNAL).write_bytes(content)
    with pytest.raises(DetectorError, match="is no journal of a study: "):
        study(tmp_path)
