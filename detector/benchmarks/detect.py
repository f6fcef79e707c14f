"""``benchmark detect``: ms per image of detection, by phase."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from detector.benchmarks.timing import sized_model
from detector.data.shapes import draw_image
from detector.export import export
from detector.opencv import write_image
from detector.predict import Predictor
from detector.reparam import deploy
from detector.runtime.pipeline import Phase
from detector.settings import DetectBenchmarkSettings

Phases = dict[Phase, float]

PHOTO_SIDE = 1024
"""Side of the JPEG file that detection decodes, pixels."""


def benchmark(settings: DetectBenchmarkSettings) -> dict[str, Any]:
    """Image to boxes in PyTorch as trained, in PyTorch fused, and in ONNX Runtime."""
    torch.set_num_threads(settings.threads)
    print(f"{settings.cfg}, {settings.threads} threads, {settings.rounds} rounds")
    model = sized_model(settings.cfg, settings.variant, settings.imgsz)
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
