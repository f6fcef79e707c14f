"""Statistics of batch norms for which start weights hold none.

Weights rebuilt from an exported file have batch norms of mean 0 and variance 1; where a convolution
had a bias and no batch norm, as in VGG16, the mean is −bias. They compute the same in evaluation,
but in training a batch norm uses the statistics of the batch: the network would be another one from
the first step on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.data.dataset import DetectionDataset
from detector.model.detector import Detector

IMAGES = 64
"""Largest number of training images that the statistics are taken from."""
BATCH = 8


def lacks_statistics(norm: nn.BatchNorm2d) -> bool:
    """Return whether a batch norm is without statistics, and not just initialized."""
    mean, variance, bias = norm.running_mean, norm.running_var, norm.bias
    if mean is None or variance is None or bias is None:
        return False
    return bool((variance == 1).all()) and bool(mean.any() or bias.any())


@torch.no_grad()
def restore_statistics(model: Detector, dataset: DetectionDataset) -> list[str]:
    """Give batch norms without statistics those of training images; no output changes.

    A norm γ · (x − m) / √(1 + ε) + β, of input mean μ and variance σ², gets these two as its
    statistics, γ′ = γ · √((σ² + ε) / (1 + ε)) and β′ = β + γ · (μ − m) / √(1 + ε).

    Returns:
        A line that says so, if there are such batch norms.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and lacks_statistics(m)]
    if not norms:
        return []
    count = min(len(dataset), IMAGES)
    seen = _input_statistics(model, norms, fitted_batches(model, dataset, count))
    for norm, (mean, variance) in seen.items():
        _set_statistics(norm, mean, variance)
    return [
        f"start weights: {len(seen)} batch norms hold no statistics; they are "
        f"taken from {count} training images, which changes no output"
    ]


def fitted_batches(model: Detector, dataset: DetectionDataset, count: int) -> Iterator[Tensor]:
    """Yield images from all of the data set, fitted as in validation."""
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    for part in np.array_split(chosen, -(-count // BATCH)):
        images = [model.preprocess.fit(dataset.samples[i].read_image())[0] for i in part]
        planes = np.stack(images).transpose(0, 3, 1, 2)
        yield model.normalize(torch.from_numpy(np.ascontiguousarray(planes)))


def _input_statistics(
    model: Detector, norms: Sequence[nn.BatchNorm2d], batches: Iterator[Tensor]
) -> dict[nn.BatchNorm2d, tuple[Tensor, Tensor]]:
    """Return mean and variance of the input channels, float64, of each norm that runs."""
    sums: dict[nn.BatchNorm2d, list[Tensor | int]] = {}

    def add(norm: nn.BatchNorm2d, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].double()
        before = sums.get(norm, [0, 0, 0])
        parts = (x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), x.numel() // x.shape[1])
        sums[norm] = [old + new for old, new in zip(before, parts, strict=True)]

    handles = [norm.register_forward_pre_hook(add) for norm in norms]
    training = model.training
    try:
        model.eval()
        for images in batches:
            model(images)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    found = {}
    for norm, parts in sums.items():
        total, squares, count = (torch.as_tensor(part) for part in parts)
        mean = total / count
        found[norm] = mean, (squares / count - mean.square()).clamp(min=0)
    return found


def _set_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (1 + norm.eps) ** 0.5
    norm.bias.copy_(norm.bias.double() + factor * (mean - norm.running_mean.double()))
    norm.weight.copy_(factor * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
