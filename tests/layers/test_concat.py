"""Concatenation: torch's values and gradients, and contiguous gradients in channels-last format."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from detector.layers.concat import Concat, concatenate

FORMATS = (torch.contiguous_format, torch.channels_last)


def features_of(widths: list[int], memory_format: torch.memory_format) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(widths))
    return [
        torch.rand(2, width, 3, 5, generator=generator)
        .contiguous(memory_format=memory_format)
        .requires_grad_()
        for width in widths
    ]


@pytest.mark.parametrize("memory_format", FORMATS)
@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_values_and_gradients_are_torchs(
    memory_format: torch.memory_format, widths: list[int]
) -> None:
    ours, theirs = features_of(widths, memory_format), features_of(widths, memory_format)
    found, expected = concatenate(ours), torch.cat(theirs, 1)
    assert found.equal(expected)
    for joined in (found, expected):
        (joined * joined.detach().cos()).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is not None and b.grad is not None
        assert a.grad.equal(b.grad)


@pytest.mark.parametrize(
    ("memory_format", "is_dense"), [(torch.channels_last, True), (torch.contiguous_format, False)]
)
def test_what_an_activation_before_it_is_given(
    memory_format: torch.memory_format, is_dense: bool
) -> None:
    """Slices of a gradient are copied in channels-last format only: others have long rows."""
    seen: list[Tensor] = []
    inputs = features_of([4, 6], memory_format)
    features = [torch.nn.functional.silu(each) for each in inputs]
    joined = concatenate(features)
    for each in features:
        each.register_hook(seen.append)
    joined.backward(torch.rand_like(joined))
    assert [g.is_contiguous(memory_format=memory_format) for g in seen] == [is_dense, is_dense]


def test_features_that_are_used_elsewhere_too() -> None:
    """With x in two joins and a sum, d/dx of (2x + 3x + x) is 6."""
    x = torch.ones(1, 2, 2, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = x * 1
    both = concatenate([y, y])
    (2 * both[:, :2] + 3 * both[:, 2:] + y).sum().backward()
    assert x.grad is not None
    assert x.grad.equal(torch.full_like(x, 6))


def test_module() -> None:
    a, b = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 4, 4)
    assert Concat()([a, b]).equal(torch.cat([a, b], 1))
    with pytest.raises(
        ValueError, match="^feature maps are concatenated along their channels, dim 1,"
    ):
        Concat(0)
