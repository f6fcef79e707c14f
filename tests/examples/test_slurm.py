"""The Slurm file starts torchrun as it should, and resumes a run of its name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "slurm" / "train.sbatch"

STAND_INS = {
    "scontrol": '[ "$*" = "show hostnames node[3-4]" ] && printf "node3\\nnode4\\n"',
    "srun": 'shift; "$@"',  # without --kill-on-bad-exit
    "torchrun": 'printf "%s\\n" "$@"',
}


@pytest.fixture
def submit(tmp_path: Path):
    """Run the script as Slurm does on the first of two machines, with stand-ins of commands."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in STAND_INS.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)

    def run(*words: str) -> list[str]:
        environment = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "SLURM_JOB_NAME": "cars",
            "SLURM_JOB_ID": "1234567",
            "SLURM_JOB_NODELIST": "node[3-4]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_GPUS_ON_NODE": "4",
        }
        command = ["bash", str(SCRIPT), *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run


TORCHRUN = [
    *("--nnodes", "2", "--nproc-per-node", "4", "--rdzv-id", "1234567", "--rdzv-backend", "c10d"),
    *("--rdzv-endpoint", "node3:24567", "-m", "detector", "train"),  # 20000 + 1234567 mod 10000
]


def test_a_new_run(submit):
    words = ["--data", "path with spaces"]
    assert submit(*words) == [*TORCHRUN, "--name", "cars", *words]


def test_the_run_is_resumed(submit, tmp_path: Path):
    run = tmp_path / "runs" / "train" / "cars"
    run.mkdir(parents=True)
    assert submit("--data", "x")[-4:] == ["--name", "cars", "--data", "x"]  # nothing was saved
    (run / "last.state.pt").touch()
    assert submit("--data", "x") == [*TORCHRUN, "--resume", "runs/train/cars"]
