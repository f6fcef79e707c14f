"""A run's folder belongs to one process, and its state to its settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import detector
from detector.engine.head_settings import train_settings
from detector.engine.run import Run, release_folders, settings_digest
from detector.engine.trainer import Trainer
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError

HOLDER = """
import sys, time
from pathlib import Path
from detector.engine.run import Run
Run(Path(sys.argv[1])).claim()
print("held", flush=True)
sys.stdin.readline()
"""


def test_many_runs_at_once_have_folders_of_their_own(tmp_path: Path):
    settings = TrainSettings(project=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: Run.create(settings).folder.name, range(64)))
    assert sorted(folders, key=int) == [str(number) for number in range(1, 65)]


def test_a_folder_in_use(tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DetectorError) as caught:
            Run(tmp_path).claim()
        assert str(caught.value) == (
            f"{tmp_path}: another process trains in this folder; choose another --name, or wait "
            "for its end"
        )
        holder.kill()  # the system lets go of what a dead process held
        holder.wait()
        run = Run(tmp_path)
        run.claim()
        run.claim()  # this process has it already
        release_folders()


def test_a_released_folder_can_be_claimed_elsewhere(tmp_path: Path):
    Run(tmp_path).claim()
    release_folders()
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "held\n")


def test_a_project_that_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DetectorError, match=r"file: cannot be made: "):
        Run.create(TrainSettings(project=tmp_path / "file"))


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"epochs": 9}, True),
        ({"device": "cuda", "workers": 3, "cache": "none"}, True),
        ({"learning_rate": 0.5}, False),
        ({"mosaic": 0.5}, False),
        ({"seed": 1}, False),
    ],
)
def test_the_digest_of_settings(changed: dict, same: bool):
    one = settings_digest(train_settings(cfg="yolov5n"))
    assert (settings_digest(train_settings(cfg="yolov5n", **changed)) == one) is same


def test_a_state_beside_other_settings(
    start: Callable[..., Trainer], resume: Callable[..., Trainer], tmp_path: Path
):
    """As two runs that shared a folder would leave them."""
    start("run", epochs=1).fit()
    settings = tmp_path / "run" / "settings.yaml"
    settings.write_text(settings.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(DetectorError) as caught:
        resume("run", epochs=2)
    assert str(caught.value) == (
        f"{tmp_path / 'run' / 'last.state.pt'}: is the state of another run than settings.yaml "
        "beside it: their settings differ"
    )


def test_a_resume_that_fails_releases_the_folder(start: Callable[..., Trainer], tmp_path: Path):
    start("run", epochs=1).fit()
    release_folders()
    with pytest.raises(DetectorError, match="does not go with --resume"):
        detector.train(resume=str(tmp_path / "run"), learning_rate=0.5)
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "held\n")
