"""The transformer encoder against attention written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from detector.layers.csp import C3
from detector.layers.transformer import C3TR, HEADS, TransformerEncoder, TransformerLayer


def attention(layer: TransformerLayer, x: Tensor) -> Tensor:
    """Return softmax(q · kᵀ / √d) · v of one image's cells (n, c), by head and cell by cell."""
    c = x.shape[1]
    size = c // HEADS
    own = [layer.q.weight, layer.k.weight, layer.v.weight]
    weights, biases = layer.ma.in_proj_weight.split(c), layer.ma.in_proj_bias.split(c)
    q, k, v = (x @ o.T @ w.T + b for o, w, b in zip(own, weights, biases, strict=True))
    out = torch.zeros_like(x)
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        for cell in range(len(x)):
            scores = torch.tensor(
                [
                    float(q[cell, part] @ k[other, part]) / math.sqrt(size)
                    for other in range(len(x))
                ],
                dtype=torch.float64,
            )
            shares = scores.exp() / scores.exp().sum()
            out[cell, part] = (shares[:, None] * v[:, part]).sum(0)
    return out @ layer.ma.out_proj.weight.T + layer.ma.out_proj.bias


@torch.no_grad()
def test_layer_by_definition() -> None:
    layer = TransformerLayer(8).double()
    nn.init.normal_(layer.ma.in_proj_bias)
    nn.init.normal_(layer.ma.out_proj.bias)
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    expected = []
    for cells in x:
        added = cells + attention(layer, cells)
        expected.append(added + added @ layer.fc1.weight.T @ layer.fc2.weight.T)
    torch.testing.assert_close(layer(x), torch.stack(expected), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_encoder_by_definition() -> None:
    encoder = TransformerEncoder(8, 2).double()
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64)
    cells = torch.stack([x[:, :, i, j] for i in range(3) for j in range(2)], 1)
    cells = cells + cells @ encoder.linear.weight.T + encoder.linear.bias
    for layer in encoder.tr:
        cells = layer(cells)
    found = encoder(x)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(found[:, :, i, j], cells[:, 2 * i + j])


@torch.no_grad()
def test_shuffled_cells_give_the_shuffled_output() -> None:
    encoder = TransformerEncoder(8, 1).double()
    x = torch.randn(1, 8, 2, 6, dtype=torch.float64)
    order = torch.randperm(12)
    shuffled = x.flatten(2)[..., order].view(x.shape)
    torch.testing.assert_close(encoder(shuffled).flatten(2), encoder(x).flatten(2)[..., order])


def test_c3tr_by_definition() -> None:
    block = C3TR(8, 16, repeats=3, shortcut=False).eval()
    x = torch.randn(1, 8, 4, 5)
    expected = block.cv3(torch.cat([block.m(block.cv1(x)), block.cv2(x)], 1))
    torch.testing.assert_close(block(x), expected)
    assert len(block.m.tr) == 3  # type: ignore[arg-type]


def test_c3tr_params_by_hand() -> None:
    # c = 256: embedding c² + c; q, k, v and the two linear layers 5c²; attention 4c² + 4c
    c = 256
    inside = (c * c + c) + 5 * c * c + (4 * c * c + 4 * c)
    found = sum(p.numel() for p in C3TR(512, 512).parameters())
    bottlenecks = sum(p.numel() for p in C3(512, 512).m.parameters())
    assert found == sum(p.numel() for p in C3(512, 512).parameters()) - bottlenecks + inside
    assert found == 1_182_976


def test_heads_must_divide() -> None:
    message = "^6 hidden channels are not split by 4 attention heads$"
    with pytest.raises(ValueError, match=message):
        C3TR(8, 12)
