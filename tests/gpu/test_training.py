"""Training on a GPU against float32 on the CPU; going on elsewhere; NCCL; memory; speed."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.cli import run_tool
from detector.engine.auto.trial import measure_batch
from detector.engine.callbacks import Callback, Step, memory
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.engine.training import run_training

ROOT = Path(__file__).parents[2]

BOUNDS = {"fp32": 2e-3, "bf16": 3e-2, "fp16": 1e-2}
"""Largest relative difference of a step's losses from those of float32 on the CPU: of TF32, which
torch lets cuDNN's convolutions use, 10 bits of each product; of bfloat16, 8; of half floats, 11."""


class Losses(Callback):
    """Keeps the losses of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_step(self, step: Step) -> None:
        self.steps.append(dict(step.losses))


@pytest.fixture
def losses(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path
) -> Callable[..., list[dict[str, float]]]:
    """A function that trains two epochs of one step on a device, and returns each step's losses."""

    number = itertools.count()

    def losses(device: object, precision: str) -> list[dict[str, float]]:
        few = {"epochs": 2, "batch": 8, "nominal_batch": 8, "augment": False, "pictures": False}
        where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path}
        kept = Losses()
        settings = train_settings(
            **few, **where, name=str(next(number)), device=str(device), precision=precision
        )
        run_training(settings, [kept])
        return kept.steps

    return losses


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_losses_are_those_of_the_cpu(
    losses: Callable[..., list[dict[str, float]]],
    device: torch.device,
    precision: str,
    record: Callable[..., None],
) -> None:
    if device.type == "cpu" and precision == "fp16":
        pytest.skip("a CPU does not train in half floats")
    expected, found = losses("cpu", "fp32")[0], losses(device, precision)[0]
    assert found.keys() == expected.keys()
    worst = max(abs(found[name] - value) / abs(value) for name, value in expected.items())
    record(largest_relative_difference=worst, bound=BOUNDS[precision])
    assert worst <= BOUNDS[precision]


def test_half_floats_are_scaled_and_learn(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, device: torch.device
) -> None:
    """Steps whose scaled gradients overflow are left out until the scale fits; the loss falls."""
    precision = "fp16" if device.type == "cuda" else "bf16"
    few = {"epochs": 12, "batch": 4, "nominal_batch": 4, "pictures": False, "mosaic": 0.0}
    settings = train_settings(
        **few,
        cfg=str(tiny_cfg),
        data=str(tiny_data),
        project=tmp_path,
        device=str(device),
        precision=precision,
    )
    history = run_training(settings).history
    sums = [sum(v for name, v in one.items() if name.startswith("loss_")) for one in history]
    assert all(map(math.isfinite, sums))
    assert sums[-1] < sums[0]


@pytest.mark.parametrize("back", [False, True], ids=["to the CPU", "from the CPU"])
def test_a_run_goes_on_on_another_device(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, device: torch.device, back: bool
) -> None:
    devices = [str(device), "cpu"]
    first, second = devices[::-1] if back else devices
    few = {"epochs": 1, "batch": 4, "nominal_batch": 4, "pictures": False, "precision": "fp32"}
    where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path, "name": "run"}
    run_training(train_settings(**few, **where, device=first))
    resumed = train_settings(resume=str(tmp_path / "run"), epochs=2, device=second)
    history = run_training(resumed).history
    assert [record["epoch"] for record in history] == [1, 2]
    assert all(math.isfinite(value) for record in history for value in record.values())


def test_memory_of_the_device_is_shown(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, device: torch.device, record: Any
) -> None:
    few = {"epochs": 1, "batch": 8, "pictures": False, "device": str(device)}
    where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path}
    prepare(train_settings(**few, **where)).fit()
    shown = memory()
    record(memory=shown)
    assert (f"GB on the {device.type}" in shown) == (device.type == "cuda")


def test_one_process_with_nccl(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, device: torch.device
) -> None:
    """``torchrun`` with one GPU and batch norm over all processes' images."""
    flags = f"--cfg {tiny_cfg} --data {tiny_data} --project {tmp_path} --name nccl --epochs 1"
    words = f"{flags} --batch 4 --no-pictures --json {tmp_path / 'nccl.json'}".split()
    words += ["--sync-bn"] if device.type == "cuda" else ["--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
        + ["tools/train.py", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert math.isfinite(json.loads((tmp_path / "nccl.json").read_text())["last"]["loss_box"])


def test_speed(
    tiny_data: Path, tmp_path: Path, device: torch.device, record: Callable[..., None]
) -> None:
    """Images/s of the trainer's step beside the plain one, of the loop and of the loader."""
    file = tmp_path / "speed.json"
    words = f"train --data {tiny_data} --cfg cfg/yolov5n.yaml --imgsz 320 --batch 8 --rounds 3"
    words += f" --device {device} --json {file}"
    assert run_tool("benchmark", words.split()) == 0
    record(**{name: json.loads(file.read_text())[name] for name in ("ratios", "peak_bytes")})


def test_a_batch_is_measured_on_the_device(
    finder: Path, tiny_data: Path, tmp_path: Path, device: torch.device, record: Callable[..., None]
) -> None:
    """Its peak memory counts, and is free after it."""
    settings = train_settings(
        weights=finder, data=str(tiny_data), project=tmp_path, device=str(device), epochs=1
    )
    trainer = prepare(settings)
    assert trainer.settings.batch in (2, 4, 8)
    parts = (trainer.state.raw_model, trainer.datasets[0], trainer.accelerator)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    found, budget = measure_batch(settings, lambda: copy.deepcopy(parts[0]), *parts[1:], [2, 4])
    assert found is not None
    record(images=found.step.images, peak_bytes=found.step.bytes, budget_bytes=budget)
    assert found.step.bytes <= budget
    if device.type == "cuda":
        assert found.step.bytes > 0
        assert torch.cuda.memory_allocated(device) == before
