"""``benchmark save``: time to write checkpoints, compared with the time of an epoch."""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from detector.benchmarks.settings import SaveBenchmarkSettings
from detector.benchmarks.timing import interleaved, spread
from detector.benchmarks.train import PHASES, bare_step, recipe
from detector.engine.setup import prepare


def benchmark(settings: SaveBenchmarkSettings) -> dict[str, Any]:
    """Time the files written after a best epoch and a bare step; print and return the times."""
    torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        trainer = prepare(recipe(settings, Path(folder)))
        run, state, steps = trainer.run, trainer.state, len(trainer.loader.batch_sampler.batches())
        batch = next(iter(trainer.loader))
        writes = {
            run.state.name: lambda: run.save_state(state.state_dict()),
            run.last.name: lambda: run.save_weights(run.last, state.averaged_model, {}),
            run.best.name: lambda: run.save_weights(run.best, state.averaged_model, {}),
        }
        step = partial(bare_step, trainer, batch, dict.fromkeys(PHASES, 0.0))
        seconds = interleaved({"step": step, **writes}, settings.rounds)
        megabytes = {file.name: file.stat().st_size / 1e6 for file in run.folder.iterdir()}
    rows = [[name, megabytes.get(name), *spread(values)] for name, values in seconds.items()]
    print(tabulate(rows, ["seconds", "MB", "median", "least", "most"], floatfmt=".3f"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    save, epoch = sum(medians[name] for name in writes), steps * medians["step"]
    print(f"an epoch: {epoch:.1f} s in {steps} steps; its checkpoints: {save:.2f} s")
    print(f"share: {save / epoch:.1%}")
    return {"seconds": seconds, "megabytes": megabytes, "share": save / epoch}
