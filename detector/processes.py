"""Which of a run's processes this one is, as ``torchrun`` says it in the environment."""

from __future__ import annotations

import os


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
