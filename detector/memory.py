"""How much memory this process takes."""

from __future__ import annotations

import sys
from pathlib import Path


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
