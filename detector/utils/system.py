"""Rank of this process, its cores and memory, and installed packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from detector.utils.errors import DetectorError

DISTRIBUTION = "repdet"
"""Name of this distribution, as pip knows it."""


def rank() -> int:
    """Return the rank of this process, from 0, as set by ``torchrun``."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return the number of processes on all machines; 1 without ``torchrun``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Return the number of processes on this machine; 1 without ``torchrun``."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this is the main process (rank 0), which prints and writes files."""
    return rank() == 0


def available_cores() -> int:
    """Return the number of cores that this process may use, possibly fewer than exist."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def reset_peak_memory() -> None:
    """Let :func:`peak_memory` begin at the present memory, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes; 0 on Windows.

    ``ru_maxrss`` is not used on Linux, since it includes the peak of the parent process.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed distributions by name; others are left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def require(package: str, extra: str | None = None) -> Any:
    """Import an optional package that a feature needs.

    Args:
        package: its name, for the import and for pip.
        extra: the extra of this distribution that brings it, for the message.

    Raises:
        DetectorError: it is not installed; names the command that installs it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # the package is installed, but one that it imports is not
            raise
        source = package if extra is None else f'"{DISTRIBUTION}[{extra}]"'
        raise DetectorError(f"{package} is not installed; run: pip install {source}") from error
