"""Swin transformer layers against attention written out cell by cell in float64."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
import torch
from torch import Tensor, nn

from detector.layers.csp import C3
from detector.layers.swin import C3STR, SwinTransformer, SwinTransformerLayer


def randomise(layer: nn.Module) -> None:
    """Give values to norms and biases, whose initial ones hide mistakes."""
    for parameter in layer.parameters():
        if parameter.ndim == 1 or parameter.shape[0] == 15 * 15:
            nn.init.normal_(parameter)


def neighbours(height: int, width: int, shift: int) -> list[list[tuple[int, int]]]:
    """Return the cells that see each other: windows of 8×8 that begin at ``shift`` - 8.

    Nothing is moved: windows at the border hold fewer cells.
    """
    groups = defaultdict(list)
    for i in range(height):
        for j in range(width):
            groups[(i - shift) // 8, (j - shift) // 8].append((i, j))
    return list(groups.values())


def attended(layer: SwinTransformerLayer, image: Tensor) -> Tensor:
    """Return what the attention adds to the cells (h, w, c) of one image."""
    height, width, channels = image.shape
    filled = torch.zeros(math.ceil(height / 8) * 8, math.ceil(width / 8) * 8, channels).double()
    filled[:height, :width] = image
    mean, variance = filled.mean(2, True), filled.var(2, correction=0, keepdim=True)
    normed = (filled - mean) / (variance + 1e-5).sqrt() * layer.norm1.weight + layer.norm1.bias
    heads = channels // 32
    size = channels // heads
    qkv = normed @ layer.attn.qkv.weight.T + layer.attn.qkv.bias
    table = layer.attn.relative_position_bias_table.tolist()
    out = torch.zeros_like(filled)
    for cells in neighbours(filled.shape[0], filled.shape[1], 4 * layer.is_shifted):
        for head in range(heads):
            q, k, v = (
                torch.stack([qkv[i, j, c * channels + head * size :][:size] for i, j in cells])
                for c in range(3)
            )
            for n, (i, j) in enumerate(cells):
                bias = [table[(i - y + 7) * 15 + j - x + 7][head] for y, x in cells]
                scores = (k @ q[n]) / math.sqrt(size) + torch.tensor(bias, dtype=torch.float64)
                shares = (scores - scores.max()).exp()
                out[i, j, head * size : (head + 1) * size] = shares @ v / shares.sum()
    return (out @ layer.attn.proj.weight.T + layer.attn.proj.bias)[:height, :width]


@torch.no_grad()
@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "channels"),
    [(8, 8, 32), (16, 16, 64), (20, 20, 32), (13, 21, 80), (3, 9, 32)],
)
def test_layer_by_definition(height: int, width: int, channels: int, is_shifted: bool) -> None:
    torch.manual_seed(0)
    layer = SwinTransformerLayer(channels, is_shifted, "SiLU").double()
    randomise(layer)
    x = torch.randn(2, height, width, channels, dtype=torch.float64)
    added = x + torch.stack([attended(layer, image) for image in x])
    hidden = layer.norm2(added) @ layer.mlp.fc1.weight.T + layer.mlp.fc1.bias
    hidden = hidden * torch.sigmoid(hidden)
    expected = added + hidden @ layer.mlp.fc2.weight.T + layer.mlp.fc2.bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def test_every_second_layer_is_shifted() -> None:
    layers = SwinTransformer(32, 4, "SiLU").blocks
    assert [layer.is_shifted for layer in layers] == [False, True, False, True]


@torch.no_grad()
def test_c3str_by_definition() -> None:
    block = C3STR(8, 64, 2, shortcut=False).eval()
    x = torch.randn(1, 8, 9, 12)
    inner = block.cv1(x).permute(0, 2, 3, 1)
    for layer in block.m.blocks:  # type: ignore[union-attr]
        inner = layer(inner)
    expected = block.cv3(torch.cat([inner.permute(0, 3, 1, 2), block.cv2(x)], 1))
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_a_shifted_layer_joins_windows() -> None:
    """A changed cell reaches its own window in one layer, and others through a shifted one."""
    torch.manual_seed(0)
    x = torch.randn(1, 32, 16, 16, dtype=torch.float64)
    changed = x.clone()
    changed[0, 5, 7, 7] += 1
    reached = [
        int((encoder.double()(changed) != encoder(x)).any(1).sum())
        for encoder in (SwinTransformer(32, 1, "SiLU"), SwinTransformer(32, 2, "SiLU"))
    ]
    # The second layer's windows are [0, 4), [4, 12) and [12, 16) on each axis: from rows 0-7,
    # rows 0-11 are reached.
    assert reached == [8 * 8, 12 * 12]


def test_params_by_hand() -> None:
    # c = 256, 8 heads. A layer: two norms 2 · 2c; table 15² · 8; qkv 3c² + 3c; projection c² + c;
    # MLP 4c² + 4c and 4c² + c.
    c = 256
    layer = 4 * c + 225 * 8 + (3 * c * c + 3 * c) + (c * c + c) + (8 * c * c + 5 * c)
    found = sum(p.numel() for p in C3STR(512, 512, 2).m.parameters())
    assert found == 2 * layer == 1_583_120
    outside = sum(p.numel() for p in C3(512, 512, 0).parameters())
    assert sum(p.numel() for p in C3STR(512, 512, 2).parameters()) == outside + 2 * layer


def test_names_are_the_published_ones() -> None:
    assert [name for name in C3STR(64, 64).state_dict() if name.startswith("m.")] == [
        "m.blocks.0.norm1.weight",
        "m.blocks.0.norm1.bias",
        "m.blocks.0.attn.relative_position_bias_table",
        "m.blocks.0.attn.qkv.weight",
        "m.blocks.0.attn.qkv.bias",
        "m.blocks.0.attn.proj.weight",
        "m.blocks.0.attn.proj.bias",
        "m.blocks.0.norm2.weight",
        "m.blocks.0.norm2.bias",
        "m.blocks.0.mlp.fc1.weight",
        "m.blocks.0.mlp.fc1.bias",
        "m.blocks.0.mlp.fc2.weight",
        "m.blocks.0.mlp.fc2.bias",
    ]


@pytest.mark.parametrize(
    ("c_out", "message"),
    [
        (62, "^31 hidden channels: expected at least 32, one attention head$"),
        (224, "^112 hidden channels are not split by 3 attention heads$"),
    ],
)
def test_refused(c_out: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        C3STR(16, c_out)
    assert C3STR(16, 64).m.blocks[0].attn.heads == 1  # type: ignore[union-attr, index]
