"""Trainings that are killed with signal 9 at random moments; see :mod:`tests.faults.kills`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "kills.py"


def run(kills: int, *words: str) -> str:
    """What the bench says last."""
    done = subprocess.run(
        [sys.executable, BENCH, "--kills", str(kills), *words],
        capture_output=True,
        text=True,
        cwd=BENCH.parent.parent.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_kill():
    assert run(1, "--epochs", "2").startswith("1 of 1 equal, 0 workers, SHA-256 ")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_many_kills(workers: str):
    assert run(20, "--workers", workers).startswith(f"20 of 20 equal, {workers} workers, SHA-256 ")
