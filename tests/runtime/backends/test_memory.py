"""Memory that a library takes within a block is limited, and only there."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from detector.runtime.backends.memory import limited_memory

MIB = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_an_allocation_beyond_the_limit_fails():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_memory(256 * MIB):
        assert np.empty(64 * MIB, np.uint8).nbytes == 64 * MIB
        with pytest.raises(MemoryError):
            np.empty(1024 * MIB, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert np.empty(1024 * MIB, np.uint8).nbytes == 1024 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_the_limit_ends_with_an_error():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(KeyError), limited_memory(MIB):
        raise KeyError
    assert resource.getrlimit(resource.RLIMIT_AS) == before
