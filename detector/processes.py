"""Which of a run's processes this one is, as ``torchrun`` says it, and the cores it may use."""

from __future__ import annotations

import os
import sys


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
