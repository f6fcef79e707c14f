"""Timing of alternatives in turns, so that changes of the machine's speed affect all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from detector.model.detector import Detector, build


def interleaved(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Run all alternatives in turns, and return the seconds of each run.

    Args:
        runs: alternatives by name.
        rounds: number of runs of each; one more warms up and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in seconds.items()}


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def sized_model(cfg: str, variant: str | None, imgsz: int | tuple[int, int] | None) -> Detector:
    """Build a network with random weights for inputs of a size.

    Args:
        cfg: model file.
        variant: variant of the model file.
        imgsz: side of the square input, or height and width, pixels. Default: the network's own.
    """
    model = build(cfg, variant=variant)
    size_hw = model.size_of(imgsz or model.preprocess.size_hw)
    model.preprocess = model.preprocess.with_size(size_hw)
    return model


def forward(network: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a function without arguments that runs a forward pass, to be timed."""

    def run() -> None:
        with torch.inference_mode():
            network(images)

    return run
