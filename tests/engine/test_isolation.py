"""A training leaves the process as it was, and the next one may choose otherwise."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import deterministic

import detector
from detector.engine.isolation import process_state_restored

QUICK = {"epochs": 1, "batch": 4, "device": "cpu", "pictures": False, "val_interval": 1}


def process_state() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": deterministic.fill_uninitialized_memory,
        "environment": dict(os.environ),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
    }


def test_everything_is_put_back_after_an_error():
    before = process_state()

    def change_everything() -> None:
        torch.use_deterministic_algorithms(True)
        deterministic.fill_uninitialized_memory = False
        torch.set_num_threads(before["threads"] + 1)
        torch.set_grad_enabled(False)
        os.environ["DETECTOR_TEST"] = "1"
        os.environ.pop("PATH")
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), process_state_restored():
        change_everything()
    assert process_state() == before


def test_two_trainings_of_different_precision(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    before = process_state()
    where = {"project": tmp_path, **QUICK}
    single = detector.train(tiny_cfg, tiny_data, precision="fp32", **where)
    assert process_state() == before
    mixed = detector.train(tiny_cfg, tiny_data, precision="bf16", **where)
    again = detector.train(tiny_cfg, tiny_data, precision="fp32", **where)
    double = detector.train(tiny_cfg, tiny_data, precision="fp64", **where)
    assert process_state() == before
    losses = [one.history[0]["loss_box"] for one in (single, mixed, again, double)]
    assert losses[0] == losses[2]  # to the last bit: the one between has left nothing behind
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[3] == pytest.approx(losses[0], rel=1e-4)


def test_a_refused_training_leaves_nothing_behind(tiny_cfg: Path, tmp_path: Path):
    before = process_state()
    with pytest.raises(detector.DetectorError):
        detector.train(tiny_cfg, tmp_path / "none", device="cpu")
    assert process_state() == before
