"""How much memory a process has held."""

from __future__ import annotations

import sys


def peak_memory() -> int:
    """Most bytes that this process has held in memory so far; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
