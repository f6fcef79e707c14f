"""Peak memory is the process's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.utils.system import peak_memory

ROOT = Path(__file__).resolve().parents[2]


def test_what_was_held_counts_after_it_is_gone():
    before = peak_memory()
    held = np.ones(before // 8 + 2**23)  # 8 bytes each: more than everything so far
    assert peak_memory() >= held.nbytes
    del held
    assert peak_memory() > before


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux hands down to child processes")
def test_the_parents_memory_does_not_count():
    held = np.ones(2**25)  # 268 MB
    program = "from detector.utils.system import peak_memory; print(peak_memory())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < held.nbytes / 2
