"""Memory that operations access and keep, by hand and against real tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.model.operations import OperationLog, tensors

FEATURES = 8 * 16 * 16 * 4
"""Bytes of the features in these tests."""


@torch.no_grad()
def logged(function: Callable[[Tensor], Any], channels: int = 8) -> OperationLog:
    image, log = torch.rand(1, channels, 16, 16), OperationLog()
    with log:
        log.keep(function(image))
    return log


def conv(c_in: int = 8, c_out: int = 8, kernel: int = 3, **arguments: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, **arguments)


def test_nothing() -> None:
    log = logged(lambda image: image)
    assert (log.operations, log.memory_access, log.winograd_saved) == (0, 0, 0)
    assert log.kept_bytes() == [0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (conv(), 256 * (8 + 8) + 8 * 8 * 9),
        (conv(stride=2), 64 * (8 + 8) + 8 * 8 * 9),
        (conv(groups=4), 256 * (8 + 8) + 8 * 2 * 9),
        (conv(c_out=24, kernel=1), 256 * (8 + 24) + 8 * 24),
        (nn.ConvTranspose2d(8, 4, 2, 2), 1024 * (8 + 4) + 8 * 4 * 4),
        (nn.BatchNorm2d(8).eval(), 0),
        (nn.Linear(16, 4), 8 * 16 * (16 + 4) + 16 * 4),
        (nn.Linear(16, 4, bias=False), 8 * 16 * (16 + 4) + 16 * 4),
        (nn.Sequential(nn.Flatten(), nn.Linear(2048, 10)), 2048 + 10 + 2048 * 10),
    ],
)
def test_memory_access(layer: nn.Module, expected: int) -> None:
    assert logged(layer).memory_access == expected


def test_equal_widths_access_least() -> None:
    """Equal widths access least memory among 1×1 convolutions with the same product of widths."""
    widths = [(4, 64), (8, 32), (16, 16), (32, 8), (64, 4)]
    access = [logged(conv(a, b, 1), a).memory_access for a, b in widths]
    assert min(access) == access[2] == 256 * 32 + 256


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (conv(), 256 * 8 * 8 * 5),
        (conv(groups=2), 256 * 8 * 4 * 5),
        (conv(stride=2), 0),
        (conv(dilation=2), 0),
        (conv(kernel=5), 0),
        (nn.ConvTranspose2d(8, 8, 3), 0),
    ],
)
def test_winograd(layer: nn.Module, expected: int) -> None:
    assert logged(layer).winograd_saved == expected


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (conv(), [0, 1]),
        (nn.Sequential(conv(), conv(), conv()), [0, 1, 1, 1]),
        (nn.Sequential(conv(), nn.ReLU(inplace=True)), [0, 1, 1]),
        (nn.Sequential(conv(), nn.Flatten()), [0, 1, 1]),  # a view
        (lambda image: image + (image * 2), [0, 1, 1]),  # the image is the caller's
        (lambda image: [image * 2, image * 3], [0, 1, 2]),
        (lambda image: (image * 2, image * 3)[1], [0, 0, 1]),  # the first is not read
        (lambda image: {"a": torch.cat([image * 2, image * 3], 1)}, [0, 1, 2, 2]),
    ],
)
def test_kept(function: Callable[[Tensor], Any], kept: list[int]) -> None:
    assert logged(function).kept_bytes() == [n * FEATURES for n in kept]


def test_kept_by_a_residual() -> None:
    """The first convolution's output is kept while the two of the branch run."""
    first, second, third = conv(), conv(), conv()

    def residual(image: Tensor) -> Tensor:
        x: Tensor = first(image)
        return x + third(second(x))

    assert logged(residual).kept_bytes() == [n * FEATURES for n in (0, 1, 2, 2, 1)]


def test_tensors() -> None:
    a, b, c = torch.rand(3)
    found = list(tensors(({"x": a, "y": [b, None, 1]}, c)))
    assert all(one is other for one, other in zip(found, (a, b, c), strict=True))
    assert list(tensors([])) == []
