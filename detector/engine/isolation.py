"""Process-wide state that a training changes, restored after it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate.state import AcceleratorState


@contextmanager
def random_state_restored() -> Iterator[None]:
    """Restore the generators of random numbers of torch, numpy and Python after the block."""
    python_random, numpy_random = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python_random)
        np.random.set_state(numpy_random)


@contextmanager
def process_state_restored() -> Iterator[None]:
    """Restore the process-wide state of torch, accelerate, numpy and Python after the block.

    These are torch's thread count, deterministic flags, gradient mode and the generators of random
    numbers; the environment; accelerate's choice of device and precision, of which it holds one
    alone, so that a second training may have another.
    """
    environment = dict(os.environ)
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        with random_state_restored():
            yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
