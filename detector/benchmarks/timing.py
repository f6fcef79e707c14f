"""Fair timing: what is compared runs in turns, and the spread stands beside the median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from detector.model.detector import Detector, build


def interleaved(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, one of each in turn; a first turn warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in seconds.items()}


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


def sized_model(cfg: str, variant: str | None, imgsz: int | None) -> Detector:
    """A network with random weights for square inputs of a size, by default its own."""
    model = build(cfg, variant=variant)
    side = model.square_size(imgsz or model.preprocess.size_hw[0])
    model.preprocess = model.preprocess.with_size(side)
    return model


def forward(network: nn.Module, images: Tensor) -> Callable[[], None]:
    """A forward pass to be timed."""

    def run() -> None:
        with torch.inference_mode():
            network(images)

    return run
