"""``benchmark backbones``: speed of RepVGG as trained and deployed, and of timm's as trained."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from detector.benchmarks.backbone_comparison import compare
from detector.benchmarks.settings import BackboneBenchmarkSettings
from detector.benchmarks.timing import forward, interleaved, spread
from detector.model.deploy import deploy
from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.transfer import transfer

VARIANTS = ("A0", "B0")
BATCHES = (1, 16)
IMAGE_SIDE = 224


def benchmark(settings: BackboneBenchmarkSettings) -> dict[str, Any]:
    """Time forward passes with the same weights in eval mode, and print and return the times.

    All networks use the channels-last memory format. In RepVGG's paper (arXiv 2101.03697, table 6)
    the deployed B0 takes 0.58 of the time on a GPU. With ``compare`` other networks are measured.
    """
    if settings.compare:
        return compare(settings)
    _refuse_flags_of_compare(settings)
    torch.set_num_threads(settings.threads)
    print(
        f"{IMAGE_SIDE} px, {settings.precision}, channels-last, {settings.threads} threads, "
        f"{settings.rounds} rounds"
    )
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16")
    metrics: dict[str, Any] = {}
    for variant in VARIANTS:
        networks = _networks(variant)
        for batch in BATCHES:
            images = torch.rand(batch, 3, IMAGE_SIDE, IMAGE_SIDE)
            images = images.contiguous(memory_format=torch.channels_last)
            runs = {name: forward(network, images) for name, network in networks.items()}
            name = f"RepVGG-{variant}, batch {batch}"
            with mixed:
                metrics[name] = _report(name, interleaved(runs, settings.rounds))
    return metrics


def _refuse_flags_of_compare(settings: BackboneBenchmarkSettings) -> None:
    for name in sorted({"batches", "imgsz", "plot"} & settings.model_fields_set):
        raise DetectorError(f"--{name} goes with --compare, which is missing")


def _networks(variant: str) -> dict[str, nn.Module]:
    try:
        import timm
    except ImportError as error:
        raise DetectorError(
            "timm is not installed; run: pip install -r requirements-dev.txt"
        ) from error
    torch.manual_seed(0)
    theirs = timm.create_model(f"repvgg_{variant.lower()}", pretrained=False)
    ours = build("repvgg", variant=variant)
    transfer(ours, theirs.state_dict())
    networks = {"train": ours, "deployed": deploy(ours)[0], "timm, train": theirs}
    return {
        name: network.eval().to(memory_format=torch.channels_last)
        for name, network in networks.items()
    }


def _report(title: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Print and return the times of one network and batch size, and their ratios."""
    milliseconds = {name: [1000 * value for value in values] for name, values in seconds.items()}
    rows = [[name, *spread(values)] for name, values in milliseconds.items()]
    print(f"\n{title}, ms")
    print(tabulate(rows, ["", "median", "least", "most"], floatfmt=".1f"))
    train, deployed, timm = (statistics.median(values) for values in seconds.values())
    print(f"deployed / train: {deployed / train:.2f}; train / timm's: {train / timm:.2f}")
    return {
        "milliseconds": milliseconds,
        "deployed_to_train": deployed / train,
        "train_to_timm": train / timm,
    }
