"""Runs a tool in this process and keeps what it printed, returned and wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detector.cli import run_tool


@dataclass(frozen=True)
class Ran:
    """Exit code, both streams, and the metrics of ``--json`` (empty after an error)."""

    code: int
    out: str
    err: str
    metrics: dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """A function that runs a tool with flags; whatever a flag is, it is written as text."""

    def run(tool: str, *words: object) -> Ran:
        metrics = tmp_path / "metrics.json"
        metrics.unlink(missing_ok=True)
        capfd.readouterr()
        code = run_tool(tool, [*map(str, words), "--json", str(metrics)])
        out, err = capfd.readouterr()
        return Ran(code, out, err, json.loads(metrics.read_text()) if code == 0 else {})

    return run


@pytest.fixture
def fails(run: Callable[..., Ran]) -> Callable[..., str]:
    """A function that runs a tool which must fail as tools do; returns the one line's message."""

    def fails(tool: str, *words: object) -> str:
        ran = run(tool, *words)
        assert ran.code == 2
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        return ran.err.removeprefix("error: ").rstrip("\n")

    return fails
