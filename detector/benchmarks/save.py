"""``benchmark save``: seconds of a checkpoint, beside those of an epoch."""

from __future__ import annotations

import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tabulate import tabulate

from detector.benchmarks.timing import interleaved, sized_model, spread
from detector.benchmarks.train import bare_step
from detector.engine.run import Run
from detector.engine.state import TrainingState
from detector.settings import SaveBenchmarkSettings, TrainSettings


def benchmark(settings: SaveBenchmarkSettings) -> dict[str, Any]:
    """What is written after an epoch that is the best so far, and the epoch's bare steps."""
    torch.set_num_threads(settings.threads)
    print(f"{settings.cfg}, {settings.threads} threads, {settings.rounds} rounds")
    model = sized_model(settings.cfg, settings.variant, settings.imgsz)
    step = bare_step(settings, model, torch.channels_last)
    state = _state_after_a_step(settings)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        run = Run(Path(folder))
        writes = {
            run.state.name: lambda: run.save_state(state.state_dict()),
            run.last.name: lambda: run.save_weights(run.last, state.averaged_model, {}),
            run.best.name: lambda: run.save_weights(run.best, state.averaged_model, {}),
        }
        seconds = interleaved({**writes, "step": step}, settings.rounds)
        megabytes = {file.name: file.stat().st_size / 1e6 for file in run.folder.iterdir()}
    rows = [[name, megabytes.get(name), *spread(values)] for name, values in seconds.items()]
    print(tabulate(rows, ["seconds", "MB", "median", "least", "most"], floatfmt=".3f"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    save = sum(medians[name] for name in writes)
    steps = math.ceil(settings.images / settings.batch)
    epoch = steps * medians["step"]
    print(
        f"an epoch of {settings.images} images: {epoch:.1f} s in {steps} steps; its checkpoints: "
        f"{save:.2f} s, {save / epoch:.1%}"
    )
    return {"seconds": seconds, "megabytes": megabytes, "share": save / epoch}


def _state_after_a_step(settings: SaveBenchmarkSettings) -> TrainingState:
    """With momentum in the optimizer."""
    model = sized_model(settings.cfg, settings.variant, settings.imgsz).train()
    state = TrainingState(TrainSettings(cfg=settings.cfg), model, 1, Accelerator(cpu=True))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.update()
    return state
