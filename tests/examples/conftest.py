"""Fixtures of the examples: each runs as its users run it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def example() -> Run:
    """Run a script of ``examples/``; ``package=False`` hides this package from it."""

    def run(name: str, *words: Any, package: bool = True, **environment: str) -> Any:
        everything = {**os.environ, **environment}
        everything.pop("PYTHONPATH", None)
        if package:
            everything["PYTHONPATH"] = str(ROOT)
        return subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), *map(str, words)],
            env=everything,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
