"""Dense layers: by definition, against torchvision's, and fused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.densenet import _DenseLayer

from detector.layers.densenet import DenseLayer, NormAct, PreActConv
from detector.layers.repvgg import randomise_batch_norms


@pytest.mark.parametrize("bottleneck", [None, 12])
def test_by_definition(bottleneck: int | None) -> None:
    layer = DenseLayer(16, 8, bottleneck)
    randomise_batch_norms(layer)
    layer.eval()
    x = torch.randn(2, 16, 5, 7)
    made = F.relu(layer.norm.bn(x))
    if bottleneck:
        made = F.relu(layer.reduce.bn(F.conv2d(made, layer.reduce.conv.weight)))  # type: ignore
    made = F.conv2d(made, layer.grow.weight, padding=1)
    torch.testing.assert_close(layer(x), torch.cat((x, made), 1))


def test_equals_torchvision() -> None:
    theirs = _DenseLayer(16, growth_rate=8, bn_size=4, drop_rate=0.0)
    randomise_batch_norms(theirs)
    theirs.eval()
    ours = DenseLayer(16, 8, bottleneck=32).eval()
    places = {"norm1": "norm.bn", "conv1": "reduce.conv", "norm2": "reduce.bn", "conv2": "grow"}
    state = {
        f"{places[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor
        for name, tensor in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    x = torch.randn(2, 16, 5, 7)
    torch.testing.assert_close(ours(x), torch.cat((x, theirs(x)), 1))


def test_the_input_is_passed_on_as_it_is() -> None:
    x = torch.randn(1, 16, 4, 4)
    for module in (DenseLayer(16, 8, 12), NormAct(16), PreActConv(16, 8)):
        before = x.clone()
        module(x)
        assert x.equal(before)


@pytest.mark.parametrize("activation", ["ReLU", "SiLU"])
def test_fused_norms_with_negative_factors(activation: str) -> None:
    """The factor of a channel may have either sign."""
    norm = NormAct(16, activation).double()
    randomise_batch_norms(norm)
    with torch.no_grad():
        norm.bn.weight[::2] *= -1
    norm.eval()
    fused = norm.fuse()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)
    difference = (fused(x) - norm(x)).abs().max() / norm(x).abs().max()
    assert difference <= 1e-10


def test_what_is_fused() -> None:
    """Of a dense layer's two norms the second one disappears in the bottleneck's convolution."""
    layer = DenseLayer(16, 8, 12)
    layer.norm, layer.reduce = layer.norm.fuse(), layer.reduce.fuse()  # type: ignore
    shapes = [tuple(m.weight.shape) for m in layer.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(12, 16, 1, 1), (8, 12, 3, 3)]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in layer.modules())


def test_transition_of_a_kernel() -> None:
    layer = PreActConv(16, 8, kernel=3, stride=2).eval()
    x = torch.randn(1, 16, 6, 8)
    expected = F.conv2d(F.relu(layer.norm.bn(x)), layer.conv.weight, stride=2, padding=1)
    torch.testing.assert_close(layer(x), expected)
