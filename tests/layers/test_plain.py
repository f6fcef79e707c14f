"""Classes of torch.nn with checked arguments."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from detector.layers.plain import (
    AvgPool2d,
    BatchNorm2d,
    ConvTranspose2d,
    MaxPool2d,
    Upsample,
    ZeroPad2d,
)
from detector.layers.repvgg import randomise_batch_norms
from detector.registry import contract


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


def test_average_pool() -> None:
    """A square at the border of an odd side is averaged over the pixels that there are."""
    x = torch.tensor([[1.0, 3, 5], [5, 7, 9], [2, 4, 8]])[None, None]
    # (1 + 3 + 5 + 7) / 4, (5 + 9) / 2, (2 + 4) / 2, 8
    assert AvgPool2d(2, ceil_mode=True)(x).tolist() == [[[[4, 7], [3, 8]]]]
    assert AvgPool2d(2)(x).tolist() == [[[[4]]]]
    assert contract("nn.AvgPool2d").stride({"kernel_size": 2}) == 2
    assert contract("nn.AvgPool2d").stride({"kernel_size": 3, "stride": 1}) == 1
    with pytest.raises(ValueError, match="expected at most half of the kernel, found 2$"):
        AvgPool2d(3, 1, 2)


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


def test_zero_pad() -> None:
    x = torch.rand(1, 2, 3, 4)
    padded = ZeroPad2d([1, 2, 3, 4])(x)
    assert padded.shape == (1, 2, 3 + 4 + 3, 1 + 4 + 2)
    assert padded[..., 3:6, 1:5].equal(x)
    assert int((padded != 0).sum()) == int((x != 0).sum())
    assert ZeroPad2d(1)(x).shape == (1, 2, 5, 6)


@pytest.mark.parametrize("padding", [-1, [1, 2], [0, 1, 0, -1]])
def test_bad_padding(padding: int | list[int]) -> None:
    with pytest.raises(ValueError) as caught:
        ZeroPad2d(padding)
    expected = "expected pixels or [left, right, top, bottom], found"
    assert str(caught.value) == f"argument 'padding': {expected} {padding}"


@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (4, 1)])
def test_transposed_convolution_doubles_the_size(kernel: int, padding: int) -> None:
    conv = ConvTranspose2d(4, 8, kernel, 2, padding)
    x = torch.rand(1, 4, 3, 5)
    assert conv(x).shape == (1, 8, 6, 10)
    expected = nn.functional.conv_transpose2d(x, conv.weight, conv.bias, 2, padding)
    assert conv(x).equal(expected)
    assert contract("nn.ConvTranspose2d").stride({"stride": 2}) == Fraction(1, 2)
    assert contract("nn.ConvTranspose2d").stride({}) == 1


def test_arguments_of_the_transposed_convolution() -> None:
    conv = ConvTranspose2d(4, 8, 3, 2, 1, 1, 2, False, 1)
    theirs = nn.ConvTranspose2d(4, 8, 3, 2, 1, 1, 2, False, 1)
    theirs.load_state_dict(conv.state_dict())
    x = torch.rand(1, 4, 3, 5)
    assert conv(x).equal(theirs(x))
    with pytest.raises(ValueError, match="^argument 'groups': 3 does not divide 4 → 8 channels$"):
        ConvTranspose2d(4, 8, 2, groups=3)


def test_batch_norm_fuses_into_a_factor_and_a_summand() -> None:
    norm = BatchNorm2d(4, 4).double().eval()
    assert (norm.eps, norm.momentum) == (1e-3, 0.03)
    randomise_batch_norms(norm)
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    fused = norm.fuse()
    assert (fused(x) - norm(x)).abs().max() / norm(x).abs().max() <= 1e-10
    assert (fused.groups, sum(p.numel() for p in fused.parameters())) == (4, 8)
    with pytest.raises(ValueError, match="^argument 'num_features': expected 4, found 8$"):
        BatchNorm2d(4, 8)
