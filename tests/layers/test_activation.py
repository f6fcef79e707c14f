"""Activations by name, without evaluation of code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.layers.activation import Activation, make_activation


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("SiLU", nn.SiLU()),
        (True, nn.SiLU()),
        ("nn.ReLU", nn.ReLU()),
        ("nn.ReLU()", nn.ReLU()),
        ("torch.nn.ReLU6( )", nn.ReLU6()),
        ("LeakyReLU(0.1)", nn.LeakyReLU(0.1)),
        ("nn.LeakyReLU(negative_slope=0.1, inplace=True)", nn.LeakyReLU(0.1)),
        ("nn.Softplus(2, threshold=-3)", nn.Softplus(2, -3)),
        ("Hardswish", nn.Hardswish()),
        (False, nn.Identity()),
        (None, nn.Identity()),
        ("None", nn.Identity()),
    ],
)
def test_known(activation: Activation, expected: nn.Module) -> None:
    made = make_activation(activation)
    x = torch.linspace(-4, 8, 50)
    assert type(made) is type(expected)
    torch.testing.assert_close(made(x.clone()), expected(x))


EXPECTED = "expected a name with numbers, as nn.LeakyReLU(0.1)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SiLu", "unknown activation 'SiLu'; did you mean 'SiLU'?"),
        ("nn.relu()", "unknown activation 'relu'; did you mean 'ReLU'?"),
        ("os.system", "unknown activation 'os.system'; known: ELU, GELU, Hardsigmoid, "),
        ("__import__('os')", f"activation \"__import__('os')\": {EXPECTED}"),
        ("ReLU(x)", f"activation 'ReLU(x)': {EXPECTED}"),
        ("ReLU(f(1))", f"activation 'ReLU(f(1))': {EXPECTED}"),
        ("ReLU(1)(2)", f"activation 'ReLU(1)(2)': {EXPECTED}"),
        ("ReLU() or g()", f"activation 'ReLU() or g()': {EXPECTED}"),
        ("ReLU(*[1])", f"activation 'ReLU(*[1])': {EXPECTED}"),
        ("ReLU(", f"activation 'ReLU(': {EXPECTED}"),
        ("GELU('tanh')", f"activation \"GELU('tanh')\": {EXPECTED}"),
        ("LeakyReLU(1e999)", f"activation 'LeakyReLU(1e999)': {EXPECTED}"),
        ("LeakyReLU(1, 2, 3)", "activation 'LeakyReLU(1, 2, 3)': "),
        ("ReLU(" + "(" * 150, "activation 'ReLU(((("),
        ("ReLU(" + "1," * 500 + ")", "activation 'ReLU(1,1,"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make_activation(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
