"""Running a measurement: its commands, and where and when they ran."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from detector.utils import machine, system
from detector.utils.errors import DetectorError

from .entries import Measurement
from .record import DOCS, Record

ROOT = DOCS.parent

PACKAGES = ("torch", "torchvision", "numpy", "onnxruntime", "openvino", "nncf", "timm")
"""Libraries whose versions a measurement depends on."""

OWN = {"json", "folder"}
"""Names in braces that are filled here: a command's results, and a folder for what it writes."""

PLACE = re.compile(r"\{(\w+)\}")


def places(measurement: Measurement, record: Record) -> list[str]:
    """Return the names of what the commands need to be given, in alphabetical order."""
    commands = " ".join(measurement.commands(record.rows))
    return sorted({*PLACE.findall(commands)} - OWN)


def measure(measurement: Measurement, record: Record, given: Mapping[str, str]) -> Record:
    """Run the commands of a measurement, and return the new record.

    Args:
        measurement: what is measured.
        record: the one before, whose other cells stay.
        given: paths by their names in the commands.

    Raises:
        DetectorError: a path is missing or not asked for, a command fails, or its results do not
            fit the table.
    """
    _check(places(measurement, record), given)
    commands = measurement.commands(record.rows)
    with tempfile.TemporaryDirectory() as folder:
        results = [_run(command, given, Path(folder)) for command in commands]
    today = date.today().isoformat()
    return Record(
        recorded=today,
        measured=today,
        machine=_machine(),
        versions={"Python": platform.python_version(), **system.installed_versions(PACKAGES)},
        commit=_commit(),
        commands=tuple(commands),
        header=record.header,
        rows=replaced(record.rows, measurement.columns, list(measurement.cells(results))),
    )


def replaced(
    rows: Sequence[Sequence[str]], columns: Sequence[int], cells: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """Return rows with the cells of some columns replaced.

    Raises:
        DetectorError: there is another number of rows.
    """
    if len(cells) != len(rows):
        raise DetectorError(f"the commands measured {len(cells)} rows, the table has {len(rows)}")
    new = [dict(zip(columns, measured, strict=True)) for measured in cells]
    return tuple(
        tuple(found.get(number, cell) for number, cell in enumerate(row))
        for row, found in zip(rows, new, strict=True)
    )


def _check(needed: Sequence[str], given: Mapping[str, str]) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        raise DetectorError(f"--with {missing[0]}=PATH is missing; needed: {', '.join(needed)}")
    unknown = sorted(given.keys() - set(needed))
    if unknown:
        raise DetectorError(
            f"--with {unknown[0]}: no command asks for it; needed: {', '.join(needed) or 'none'}"
        )


def _run(command: str, given: Mapping[str, str], folder: Path) -> Any:
    """Run a command with this Python, and return the content of its JSON."""
    results = folder / "results.json"
    own = {"json": str(results), "folder": str(folder)}
    words = [word.format(**given, **own) for word in shlex.split(command)]
    words[0] = sys.executable
    print(f"$ {shlex.join(words)}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise DetectorError(f"exit code {code}: {shlex.join(words)}")
    return json.loads(results.read_text(encoding="utf-8"))


def _machine() -> str:
    name = machine.cpu_name(machine.cpu_info()) or platform.machine()
    return f"{name}, {system.available_cores()} cores"


def _commit() -> str | None:
    """Return the commit of the checkout, marked if files have changed since; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None
