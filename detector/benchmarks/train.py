"""``benchmark train``: images/s of the bare training step."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from detector.benchmarks.timing import interleaved, peak_memory, sized_model, spread
from detector.data.shapes import draw_image
from detector.engine.accumulation import normalise
from detector.engine.optim import make_average, make_optimizer
from detector.graph import Detector
from detector.settings import TrainBenchmarkSettings, TrainSettings
from detector.structures import Batch, Targets
from detector.tasks import task_of


def benchmark(settings: TrainBenchmarkSettings) -> dict[str, Any]:
    """The bare step in channels-last and in torch's default memory format, in turns."""
    torch.set_num_threads(settings.threads)
    print(f"{settings.cfg}, {settings.threads} threads, {settings.rounds} rounds")
    model = sized_model(settings.cfg, settings.variant, settings.imgsz)
    steps = {
        "channels-last": bare_step(settings, model, torch.channels_last),
        "default format": bare_step(
            settings,
            sized_model(settings.cfg, settings.variant, settings.imgsz),
            torch.contiguous_format,
        ),
    }
    seconds = interleaved(steps, settings.rounds)
    rates = {name: [settings.batch / value for value in values] for name, values in seconds.items()}
    rows = [[name, *spread(values)] for name, values in rates.items()]
    print(f"\ntraining step, batch {settings.batch}, images/s")
    print(tabulate(rows, ["", "median", "least", "most"], floatfmt=".2f"))
    ratio = statistics.median(seconds["default format"]) / statistics.median(
        seconds["channels-last"]
    )
    print(f"default format / channels-last: {ratio:.2f}")
    peak = peak_memory()
    print(f"peak memory of the process, both models: {peak / 1e9:.2f} GB")
    return {"images_per_second": rates, "ratio": ratio, "peak_bytes": peak}


def bare_step(
    settings: TrainBenchmarkSettings, model: Detector, memory_format: torch.memory_format
) -> Callable[[], None]:
    """Forward, loss, backward, optimizer and average on one fixed batch."""
    recipe = TrainSettings(cfg=settings.cfg)
    model = model.train().to(memory_format=memory_format)
    optimizer, average = make_optimizer(model, recipe), make_average(model, recipe)
    criterion = task_of(model).criterion(model, recipe)
    batch = _drawn_batch(settings.batch, model.preprocess.size_hw[0])
    images = normalise(batch.images, model).contiguous(memory_format=memory_format)

    def step() -> None:
        losses = criterion(model(images), batch.targets)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(model)

    return step


def _drawn_batch(count: int, side: int) -> Batch:
    """Images and boxes of the built-in set."""
    rng = np.random.default_rng(0)
    drawn = [draw_image(rng, side)[:3] for _ in range(count)]
    images = np.stack([image.transpose(2, 0, 1) for image, _, _ in drawn])
    counts = [len(class_ids) for _, _, class_ids in drawn]
    targets = Targets(
        torch.from_numpy(np.concatenate([boxes for _, boxes, _ in drawn])).float(),
        torch.from_numpy(np.concatenate([class_ids for _, _, class_ids in drawn])),
        torch.from_numpy(np.repeat(np.arange(count), counts)),
    )
    return Batch(torch.from_numpy(images), targets)
