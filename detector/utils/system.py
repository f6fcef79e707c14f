"""Which of a run's processes this one is, as ``torchrun`` says it, and the cores it may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from detector.utils.errors import DetectorError


def rank() -> int:
    """Number of this process among all of them, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are, on all machines; 1 without ``torchrun``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """How many of them this machine has."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the one that prints and writes files."""
    return rank() == 0


def available_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def peak_memory() -> int:
    """Most bytes that this process has held in memory so far; 0 where the system does not say.

    Linux's ``ru_maxrss`` would count what the process that started this one had held.
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
    """Versions by name; what is not installed, or under another name, is left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def require(package: str) -> Any:
    """Import a package that nothing here depends on, for a person who asks for what it does.

    Raises:
        DetectorError: it is not installed; says how to install it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is there, and lacks something itself
            raise
        raise DetectorError(f"{package} is not installed; run: pip install {package}") from error
