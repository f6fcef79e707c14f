"""Modules without weights."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from detector.layers.plain import Concat, MaxPool2d, Upsample
from detector.registry import contract


def test_concat() -> None:
    a, b = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 4, 4)
    assert Concat()([a, b]).equal(torch.cat([a, b], 1))
    with pytest.raises(ValueError, match="^maps are concatenated along their channels, dim 1,"):
        Concat(0)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_upsample(mode: str) -> None:
    x = torch.rand(1, 2, 4, 6)
    expected = nn.functional.interpolate(x, scale_factor=2, mode=mode)
    torch.testing.assert_close(Upsample(None, 2, mode)(x), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scale", "stride"), [(2, Fraction(1, 2)), (1.5, Fraction(2, 3)), (0.25, Fraction(4))]
)
def test_stride_of_upsampling(scale: float, stride: Fraction) -> None:
    assert contract("nn.Upsample").stride({"scale_factor": scale}) == stride


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"^expected a 'scale_factor' and no 'size', found \{\}$"),
        ({"size": 8, "scale_factor": 2}, r"^expected a 'scale_factor' and no 'size', found "),
        ({"scale_factor": 1e-9}, r"^argument 'scale_factor': expected a simple fraction, found 1e"),
        ({"scale_factor": 3.14159}, r"expected a simple fraction, found 3\.14159$"),
    ],
)
def test_upsampling_without_a_stride(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contract("nn.Upsample").stride(arguments)


def test_max_pool() -> None:
    x = torch.rand(1, 2, 9, 9)
    assert MaxPool2d(3, 2, ceil_mode=True)(x).equal(
        nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
    )
    assert MaxPool2d(2)(x).shape == (1, 2, 4, 4)
    assert contract("nn.MaxPool2d").stride({"kernel_size": 2}) == 2
    assert contract("nn.MaxPool2d").stride({"kernel_size": 3, "stride": 1}) == 1
    with pytest.raises(ValueError, match="expected at most half of the kernel, found 2$"):
        MaxPool2d(3, 1, 2)
