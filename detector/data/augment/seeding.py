"""Seeding of torchvision's transforms, which draw from torch's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def torch_seeded_by(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global generator from ``rng`` inside the block, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        yield
