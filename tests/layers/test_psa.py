"""Partial self-attention against attention written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from detector.layers.psa import C2PSA, PSABlock, SpatialAttention
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy


@torch.no_grad()
@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (64, 1), (128, 2), (144, 2)])
def test_attention_by_definition(channels: int, heads: int) -> None:
    layer = SpatialAttention(channels).double().eval()
    randomise_batch_norms(layer)
    assert layer.heads == heads
    value = channels // heads
    key = value // 2
    x = torch.randn(2, channels, 2, 3, dtype=torch.float64)
    qkv = layer.qkv(x)
    assert qkv.shape[1] == 2 * heads * key + channels
    attended, values = torch.zeros_like(x), torch.zeros_like(x)
    for image in range(2):
        for head in range(heads):
            begin = head * (2 * key + value)
            q, k, v = qkv[image, begin : begin + 2 * key + value].split((key, key, value))
            for i in range(2):
                for j in range(3):
                    scores = (q[:, i, j, None, None] * k).sum(0) / math.sqrt(key)
                    shares = scores.exp() / scores.exp().sum()
                    channel = slice(head * value, (head + 1) * value)
                    attended[image, channel, i, j] = (shares * v).sum((1, 2))
            values[image, head * value : (head + 1) * value] = v
    expected = layer.proj(attended + layer.pe(values))
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_block_and_stack_by_definition() -> None:
    block = C2PSA(16, 16, repeats=2).eval()
    x = torch.randn(1, 16, 4, 3)
    first, second = block.cv1(x).split(8, 1)
    for one in block.m:
        assert isinstance(one, PSABlock)
        second = second + one.attn(second)
        second = second + one.ffn(second)
    torch.testing.assert_close(block(x), block.cv2(torch.cat([first, second], 1)))


def test_params_by_hand() -> None:
    # c_in 256, halves of 128: 1×1 convs 256 → 256 twice; two heads of 64 values, 32 keys and
    # queries each: qkv 128 → 256, projection 128 → 128, depthwise 3×3; two layers 128 ↔ 256.
    attention = (128 * 256 + 512) + (128 * 128 + 256) + (128 * 9 + 256)
    layers = (128 * 256 + 512) + (256 * 128 + 256)
    block = C2PSA(256, 256)
    assert sum(p.numel() for p in block.parameters()) == 2 * (256 * 256 + 512) + attention + layers


def test_fuses() -> None:
    block = C2PSA(16, 16, 2).double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 16, 5, 4, dtype=torch.float64)
    expected, fused = block(x), fused_copy(block)
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


@pytest.mark.parametrize(
    ("c_in", "c_out", "message"),
    [
        (16, 24, "^argument 'c_out': expected 16 as in the input, found 24$"),
        (394, 394, "^197 hidden channels are not split by 3 attention heads$"),
    ],
)
def test_refused(c_in: int, c_out: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        C2PSA(c_in, c_out)
