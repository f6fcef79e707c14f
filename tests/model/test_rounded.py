"""Rounding to 8 bits: by hand, against a slow loop, and in any module that convolves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from detector.model.rounded import Int8Rounding, rounded_input, rounded_weight
from tests.model.test_deploy import small_model


def slowly(values: np.ndarray, low: float, high: float, levels: int) -> np.ndarray:
    """Each value by the definition, in float64: the nearest of the steps between low and high."""
    step = max((high - low) / levels, 1e-12)
    zero = round(-low / step)
    return np.array([(min(max(round(v / step) + zero, 0), levels) - zero) * step for v in values])


def test_weights_by_hand():
    # Steps 2.54/127 = 0.02 and 127/127 = 1; 0.331/0.02 = 16.55 → 17.
    weight = torch.tensor([[2.54, 0.331], [-127.0, 3.4]]).reshape(2, 2, 1, 1)
    expected = torch.tensor([[2.54, 0.34], [-127.0, 3.0]]).reshape(2, 2, 1, 1)
    assert torch.allclose(rounded_weight(weight), expected, atol=1e-6)


def test_weights_by_hand_with_one_step_a_layer():
    # The largest weight is 127, so the step is 1 for both output channels.
    weight = torch.tensor([[2.54, 0.331], [-127.0, 3.4]]).reshape(2, 2, 1, 1)
    expected = torch.tensor([[3.0, 0.0], [-127.0, 3.0]]).reshape(2, 2, 1, 1)
    assert torch.allclose(rounded_weight(weight, per_tensor=True), expected, atol=1e-6)
    assert rounded_weight(torch.zeros(2, 3), per_tensor=True).tolist() == [[0, 0, 0]] * 2


def test_activations_by_hand():
    # From −0.5 to 2.05: 255 steps of 0.01, the 50th is 0. 1.234/0.01 = 123.4 → 123.
    x = torch.tensor([-0.5, 2.05, 1.234, 0.0])
    assert torch.allclose(rounded_input(x), torch.tensor([-0.5, 2.05, 1.23, 0.0]), atol=1e-6)


def test_zeros_stay_zeros():
    assert rounded_weight(torch.zeros(2, 3)).tolist() == [[0, 0, 0]] * 2
    assert rounded_input(torch.zeros(3)).tolist() == [0, 0, 0]


values = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20)


@given(values)
def test_activations_against_a_loop(found: list[float]):
    x = np.array(found, np.float32)
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / 255
    rounded = rounded_input(torch.from_numpy(x)).numpy()
    # Values that lie between two steps may go either way in float32.
    assert np.abs(rounded - slowly(x, low, high, 255)).max() <= 1.001 * step + 1e-9
    assert np.abs(rounded - x).max() <= 0.501 * step + 1e-5 * max(high, -low) + 1e-9


@given(values)
def test_gradients_pass_rounding(found: list[float]):
    x = torch.tensor(found, requires_grad=True)
    rounded_input(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * len(found)


class Unusual(nn.Module):
    """A block of someone else's: a convolution without a module, arguments by name."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(x, weight=self.kernel, stride=2)
        return self.linear(functional.relu(y).mean((2, 3)))


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_any_module_rounds(seed: int):
    torch.manual_seed(seed)
    block, x = Unusual(), torch.rand(2, 3, 9, 9)
    with Int8Rounding():
        found = block(x)
    y = functional.conv2d(rounded_input(x), rounded_weight(block.kernel), stride=2)
    pooled = functional.relu(y).mean((2, 3))
    weight, bias = rounded_weight(block.linear.weight), block.linear.bias
    assert torch.allclose(found, functional.linear(rounded_input(pooled), weight, bias))
    assert torch.equal(block(x), block(x))
    with Int8Rounding(per_tensor=True):
        one_step = block(x)
    y = functional.conv2d(rounded_input(x), rounded_weight(block.kernel, True), stride=2)
    pooled = functional.relu(y).mean((2, 3))
    weight = rounded_weight(block.linear.weight, True)
    assert torch.allclose(one_step, functional.linear(rounded_input(pooled), weight, bias))


def test_a_network_that_rounds_can_be_trained():
    from detector.model.deploy import deploy

    fused, _ = deploy(small_model())
    x = torch.rand(1, 3, 64, 64)
    plain = fused(x)
    fused.rounds = True
    names = list(fused.state_dict())
    rounded = fused.train()(x)
    assert not torch.equal(torch.as_tensor(rounded[0]), torch.as_tensor(plain[0]))
    sum(one.square().sum() for one in rounded).backward()
    assert all(p.grad is not None for p in fused.parameters() if p.requires_grad)
    assert list(fused.state_dict()) == names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast(dtype: torch.dtype):
    conv = nn.Conv2d(3, 4, 3)
    with Int8Rounding(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        assert conv(torch.rand(1, 3, 8, 8)).dtype == dtype
