"""``benchmark``: images/s of training, ms per image of detection by phase.

What is compared is run in turns, so that a machine that grows slower for a while slows both.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from detector.cli.benchmark_ssd import beside_torchvision
from detector.cli.timing import interleaved, peak_memory, spread
from detector.data.shapes import draw_image
from detector.engine.optim import make_average, make_optimizer
from detector.engine.trainer import normalise
from detector.export import export
from detector.graph import Detector, build
from detector.opencv import write_image
from detector.predict import Predictor
from detector.reparam import deploy
from detector.runtime.pipeline import Phase
from detector.settings import BenchmarkSettings, TrainSettings
from detector.structures import Batch, Targets
from detector.tasks import task_of

Phases = dict[Phase, float]

PHOTO_SIDE = 1024
"""Side of the JPEG file that detection decodes, pixels."""


def benchmark(settings: BenchmarkSettings) -> dict[str, Any]:
    """Measure, print a table of medians with their spread, and return it."""
    torch.set_num_threads(settings.threads)
    if settings.what == "ssd":
        return beside_torchvision(settings.rounds)
    model = _model(settings)
    side = model.preprocess.size_hw[0]
    print(f"{settings.cfg}, {side} px, {settings.threads} threads, {settings.rounds} rounds")
    measure = {"train": _training, "detect": _detection}[settings.what]
    return measure(model, settings)


def _model(settings: BenchmarkSettings) -> Detector:
    model = build(settings.cfg, variant=settings.variant)
    side = settings.imgsz or model.preprocess.size_hw[0]
    model.preprocess = model.preprocess.with_size((side, side))
    return model


def _training(model: Detector, settings: BenchmarkSettings) -> dict[str, Any]:
    """The bare step in channels-last and in torch's default memory format."""
    steps = {
        "channels-last": _bare_step(settings, model, torch.channels_last),
        "default format": _bare_step(settings, _model(settings), torch.contiguous_format),
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


def _bare_step(
    settings: BenchmarkSettings, model: Detector, memory_format: torch.memory_format
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


def _detection(model: Detector, settings: BenchmarkSettings) -> dict[str, Any]:
    """Image to boxes in PyTorch as trained, in PyTorch fused, and in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        report = export(model, "onnx", Path(folder) / "model.onnx")
        predictors = {
            "PyTorch, as trained": Predictor(model, device="cpu"),
            "PyTorch, fused": Predictor(deploy(model)[0], device="cpu"),
            "ONNX Runtime, fused": Predictor(report.path, device="cpu"),
        }
        phases = _phases(predictors, settings.rounds)
    names = list(next(iter(phases.values())))
    rows = [
        [name, *(values[phase] for phase in names), sum(values.values())]
        for name, values in phases.items()
    ]
    print("\ndetection, batch 1, ms per image (medians)")
    print(tabulate(rows, ["", *names, "total"], floatfmt=".1f"))
    return phases


def _phases(predictors: dict[str, Predictor], rounds: int) -> dict[str, Phases]:
    """Median milliseconds of each phase; JPEG files are decoded each time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        write_image(path, draw_image(np.random.default_rng(0), PHOTO_SIDE)[0])
        samples: dict[str, list[Phases]] = {name: [] for name in predictors}
        for _ in range(rounds + 1):
            for name, predictor in predictors.items():
                before = dict(predictor.timing.seconds)
                list(predictor(path))
                after = predictor.timing.seconds
                samples[name].append({p: 1000 * (after[p] - before[p]) for p in after})
    return {
        name: {p: statistics.median(run[p] for run in runs[1:]) for p in runs[0]}
        for name, runs in samples.items()
    }


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
