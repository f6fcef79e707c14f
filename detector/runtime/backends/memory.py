"""A limit on the memory that a library may take while it reads a file."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Let the process take only so much more memory; a library's allocation beyond it fails.

    The limit is that of the process, so that other threads share it until the block ends. It holds
    on Linux; elsewhere nothing is limited.

    Args:
        more_bytes: address space beyond what the process has now.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    with _ONE_AT_A_TIME:
        before, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = _address_space() + more_bytes
        limits = [known for known in (before, most, limit) if known != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _address_space() -> int:
    """Return the number of bytes of this process's address space that are taken (Linux)."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
