"""YOLOX's head: raw outputs, decoding, prior biases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from detector.heads.anchors import MAX_LOG_SIDE
from detector.heads.yolox import YOLOXHead
from detector.layers.depthwise import SeparableConv

STRIDES = (8, 16)


def head(nc: int = 3, **arguments: int | bool) -> YOLOXHead:
    torch.manual_seed(0)
    return YOLOXHead(nc, 8, c_in=(4, 8), strides=STRIDES, **arguments).eval()


def features(height: int = 32, width: int = 48) -> list[Tensor]:
    return [torch.rand(2, c, height // s, width // s) for c, s in zip((4, 8), STRIDES, strict=True)]


def test_shapes_and_number_of_boxes() -> None:
    """4 · 6 + 2 · 3 cells."""
    decoupled = head()
    raw_outputs = decoupled(features())
    assert [tuple(raw.shape) for raw in raw_outputs] == [(2, 4, 6, 8), (2, 2, 3, 8)]
    boxes_xyxy, scores = decoupled.decode(raw_outputs)
    assert boxes_xyxy.shape == (2, 30, 4)
    assert scores.shape == (2, 30, 3)
    none, _ = decoupled.decode(decoupled([level[:0] for level in features()]))
    assert none.shape == (0, 30, 4)


def test_decoding_by_hand() -> None:
    """First and last cell: centre = (raw + cell) · stride, sides = exp(raw) · stride."""
    raw_outputs = [torch.zeros(1, 4, 6, 8), torch.zeros(1, 2, 3, 8)]
    raw_outputs[0][0, 0, 0] = torch.tensor([0.25, 0.5, math.log(2), math.log(3), 0, 0, 0, 0])
    raw_outputs[1][0, 1, 2] = torch.tensor([-1, 0, 0, math.log(0.5), math.log(3), 0, 0, -50])
    boxes_xyxy, scores = head().decode(raw_outputs)
    # (0.25, 0.5) · 8 = (2, 4), 16 × 24
    torch.testing.assert_close(boxes_xyxy[0, 0], torch.tensor([-6.0, -8, 10, 16]))
    # (2 − 1, 1) · 16 = (16, 16), 16 × 8
    torch.testing.assert_close(boxes_xyxy[0, -1], torch.tensor([8.0, 12, 24, 20]))
    # σ(0)² = 0.25; σ(log 3) = 0.75: 0.75 · 0.5
    torch.testing.assert_close(scores[0, 0], torch.full((3,), 0.25))
    torch.testing.assert_close(scores[0, -1], torch.tensor([0.375, 0.375, 0]))


def test_no_box_is_infinite() -> None:
    raw = torch.full((1, 1, 1, 8), 1e4)
    boxes_xyxy, _ = head().decode([raw, raw])
    assert torch.isfinite(boxes_xyxy).all()
    assert boxes_xyxy[0, 0, 2] - boxes_xyxy[0, 0, 0] == pytest.approx(8 * math.exp(MAX_LOG_SIDE))


def test_classes_and_objectness_start_at_one_percent() -> None:
    decoupled = head()
    for layer in (*decoupled.class_layers, *decoupled.objectness_layers):
        torch.testing.assert_close(layer.bias.sigmoid(), torch.full_like(layer.bias, 0.01))


def test_separable_convs_are_those_of_both_branches() -> None:
    count = sum(isinstance(module, SeparableConv) for module in head(separable=True).modules())
    assert count == 2 * 2 * 2  # levels, branches, convs
    assert not any(isinstance(module, SeparableConv) for module in head().modules())


def test_rows_of_classes() -> None:
    decoupled = head()
    found = [name for name in decoupled.state_dict() if decoupled.class_rows(name)]
    assert found == [
        f"class_layers.{level}.{part}" for level in (0, 1) for part in ("weight", "bias")
    ]


def test_hidden_layers_keep_the_short_precision() -> None:
    """Inside autocast the convs run in bfloat16 and the last layers in float32."""
    decoupled, seen = head(), []
    for layer in (decoupled.stems[0].conv, decoupled.box_layers[0]):
        assert isinstance(layer, nn.Conv2d)
        layer.register_forward_hook(lambda _module, _inputs, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        raw_outputs = decoupled(features())
    assert seen == [torch.bfloat16, torch.float32]
    assert {raw.dtype for raw in raw_outputs} == {torch.float32}


def test_no_classes() -> None:
    with pytest.raises(ValueError, match="argument 'nc': expected at least 1 class, found 0"):
        head(0)
