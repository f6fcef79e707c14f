"""``benchmark train``: images/s of the training step, of the whole loop, and of the loader."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from detector.benchmarks.settings import TrainBenchmarkSettings
from detector.benchmarks.timing import interleaved, spread
from detector.engine.head_settings import train_settings
from detector.engine.optim import make_average
from detector.engine.setup import prepare
from detector.engine.tasks import task_of
from detector.engine.trainer import Trainer
from detector.settings.train import TrainSettings
from detector.structures.samples import Batch
from detector.utils.system import peak_memory

BARE, LOOP, LOADER = "bare step", "loop", "loader alone"
PLAIN, FLOAT = "plain step", "plain step, float32"
PHASES = ("forward", "loss", "backward", "update")


def benchmark(settings: TrainBenchmarkSettings) -> dict[str, Any]:
    """Time passes over the training images by step, loop and loader; print and return the rates.

    The bare step is the trainer's step on one fixed batch. The plain step is the same in torch's
    default memory format with an optimizer that is not fused, in the trainer's precision and in
    float32. The loop is a whole epoch without validation.
    """
    torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = prepare(recipe(settings, Path(folder)))
        batch = next(iter(trainer.loader)).to(trainer.accelerator.device)
        phases = dict.fromkeys(PHASES, 0.0)
        count = len(trainer.loader.batch_sampler.batches())
        runs: dict[str, Callable[[], None]] = {
            BARE: partial(_repeat, count, partial(bare_step, trainer, batch, phases)),
            PLAIN: partial(_repeat, count, _plain_step(trainer, batch, mixed=True)),
            FLOAT: partial(_repeat, count, _plain_step(trainer, batch, mixed=False)),
            LOOP: partial(_loop, trainer),
            LOADER: partial(_load, trainer),
        }
        seconds = interleaved(runs, settings.rounds)
        images = {name: count * len(batch) for name in (BARE, PLAIN, FLOAT)}
        images |= dict.fromkeys((LOOP, LOADER), len(trainer.loader.dataset))
    rates = {name: [images[name] / s for s in values] for name, values in seconds.items()}
    return report(rates, phases)


def report(rates: dict[str, list[float]], phases: dict[str, float]) -> dict[str, Any]:
    """Print and return images/s, their ratios, shares of a step's phases, and peak memory."""
    rows = [[name, *spread(values)] for name, values in rates.items()]
    print(f"\n{tabulate(rows, ['images/s', 'median', 'least', 'most'], floatfmt='.1f')}")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        "loop / bare step": medians[LOOP] / medians[BARE],
        "bare step / plain step": medians[BARE] / medians[PLAIN],
        "bare step / plain step, float32": medians[BARE] / medians[FLOAT],
    }
    shares = {name: value / sum(phases.values()) for name, value in phases.items()}
    print(", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    print("of a bare step: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    peak = peak_memory()
    print(f"peak memory of the process, with three networks: {peak / 1e9:.2f} GB")
    return {"images_per_second": rates, "ratios": ratios, "phases": shares, "peak_bytes": peak}


def recipe(settings: TrainBenchmarkSettings, folder: Path) -> TrainSettings:
    """Return the settings of the training that is timed, with its run in ``folder``."""
    given = settings.model_dump(exclude={"threads", "rounds", "folder", "json_file", "debug"})
    values = {name: value for name, value in given.items() if value is not None}
    return train_settings(**values, project=folder, pictures=False)


def _repeat(count: int, step: Callable[[], None]) -> None:
    for _ in range(count):
        step()
    _wait_for_device()


def _wait_for_device() -> None:
    """Wait until what was asked of a GPU is done; a CPU is never ahead."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def bare_step(trainer: Trainer, batch: Batch, phases: dict[str, float]) -> None:
    """Run a training step, and add the seconds of each of its ``PHASES`` to ``phases``."""
    state = trainer.state
    images = state.raw_model.normalize(batch.images)
    with _timed(phases, "forward"), trainer.accelerator.autocast():
        raw_outputs = state.model(images)
    with _timed(phases, "loss"):
        losses = trainer.accumulation.criterion(raw_outputs, batch.targets)
    with _timed(phases, "backward"):
        torch.stack(list(losses.values())).sum().backward()
    with _timed(phases, "update"):
        state.update()


@contextmanager
def _timed(phases: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    phases[phase] += time.perf_counter() - start


def _plain_step(trainer: Trainer, batch: Batch, mixed: bool) -> Callable[[], None]:
    """Return a straightforward training step on a copy of the network, as a baseline.

    Args:
        trainer: source of the network and the settings.
        batch: fixed batch of the step.
        mixed: whether to use the trainer's mixed precision.
    """
    model = copy.deepcopy(trainer.state.averaged_model)
    model = model.to(memory_format=torch.contiguous_format).train().requires_grad_()
    settings = trainer.settings
    optimizer = torch.optim.SGD(
        model.parameters(),
        settings.learning_rate,
        settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
        foreach=False,
        fused=False,
    )
    average = make_average(model, settings)
    criterion = task_of(type(model.head)).criterion(model.head, model.preprocess.size_hw, settings)

    def step() -> None:
        images = model.normalize(batch.images).contiguous()
        with trainer.accelerator.autocast() if mixed else nullcontext():
            raw_outputs = model(images)
        losses = criterion(raw_outputs, batch.targets)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)

    return step


def _loop(trainer: Trainer) -> None:
    """Train an epoch without validation and checkpoints."""
    for _ in trainer.train_epoch():
        pass
    _wait_for_device()
    trainer.progress.finish_epoch(trainer.state.learning_rate, {})


def _load(trainer: Trainer) -> None:
    """Load the images of an epoch without using them."""
    trainer.loader.batch_sampler.set_epoch(trainer.progress.epoch)
    for _ in trainer.loader:
        pass
