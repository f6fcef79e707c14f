"""torchvision's transforms draw from torch's own generator; here it is lent to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def torch_seeded_by(rng: np.random.Generator) -> Iterator[None]:
    """Inside, torch's random numbers follow from ``rng``; outside, its generator is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        yield
