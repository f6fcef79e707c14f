"""A small space and a training of a second that a search does many times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPACE = """\
learning_rate: {kind: log, low: 0.001, high: 0.1}
momentum: {kind: float, low: 0.5, high: 0.95}
nominal_batch: {kind: int, low: 2, high: 8}
optimizer: {kind: choice, values: [sgd, adamw]}
"""

FEW = {
    "epochs": 2,
    "batch": 4,
    "device": "cpu",
    "workers": 0,
    "mosaic": 0.0,
    "warmup_epochs": 0,
    "pictures": False,
    "ema_warmup": 1.0,
    "ema_decay": 0.5,
}


@pytest.fixture
def write_space(tmp_path: Path) -> Callable[[str], str]:
    """A function that writes a space's file."""

    def write(text: str) -> str:
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def training(tiny_cfg: Path, tiny_data: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of the training that is searched for."""
    where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path, "name": "s"}
    return {**where, **FEW}


@pytest.fixture
def space(write_space: Callable[[str], str]) -> str:
    """The file of a space of four kinds."""
    return write_space(SPACE)
