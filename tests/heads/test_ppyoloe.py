"""PP-YOLOE's head: raw outputs by definition, decoding, start biases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detector.heads.ppyoloe import PPYOLOEHead
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy

STRIDES, WIDTHS, BINS = (8, 16), (4, 8), 5


def make(bins: int = BINS) -> PPYOLOEHead:
    torch.manual_seed(0)
    head = PPYOLOEHead(3, bins, c_in=WIDTHS, strides=STRIDES).eval()
    randomise_batch_norms(head)
    for convs in (*head.box_convs, *head.class_convs):
        torch.nn.init.normal_(convs.fc.weight)
    return head.double()


def features(height: int = 32, width: int = 48) -> list[Tensor]:
    sizes = zip(WIDTHS, STRIDES, strict=True)
    return [torch.rand(2, c, height // s, width // s, dtype=torch.float64) for c, s in sizes]


@torch.no_grad()
def test_raw_outputs_by_definition() -> None:
    """Gate of the means in both branches; the feature itself is added for the classes."""
    head, inputs = make(), features()
    raw_outputs = head(inputs)
    assert [tuple(raw.shape) for raw in raw_outputs] == [(2, 4, 6, 23), (2, 2, 3, 23)]
    for level, feature in enumerate(inputs):
        hidden = []
        for block in (head.box_convs[level], head.class_convs[level]):
            gate = torch.sigmoid(block.fc(feature.mean((2, 3))[..., None, None]))
            hidden.append(block.conv(feature * gate))
        expected = torch.cat(
            (head.box_layers[level](hidden[0]), head.class_layers[level](hidden[1] + feature)), 1
        )
        torch.testing.assert_close(raw_outputs[level], expected.permute(0, 2, 3, 1))
        assert head.class_layers[level].weight.shape == (3, WIDTHS[level], 3, 3)
        assert head.box_layers[level].weight.shape == (20, WIDTHS[level], 3, 3)


def test_decoding_by_hand() -> None:
    """Distances 1, 2, 3, 0 strides from the centre of the second cell of stride 8: (12, 4)."""
    raw_outputs = [torch.zeros(1, 4, 6, 23), torch.zeros(1, 2, 3, 23)]
    for side, distance in enumerate((1, 2, 3, 0)):
        raw_outputs[0][0, 0, 1, BINS * side + distance] = 200
    boxes_xyxy, _ = make().decode(raw_outputs)
    torch.testing.assert_close(boxes_xyxy[0, 1], torch.tensor([4.0, -12, 36, 4]))


def test_start() -> None:
    """Gates of nearly ½, classes of 1 %, equal bins."""
    head = PPYOLOEHead(3, c_in=WIDTHS, strides=STRIDES)
    assert head.bins == 17
    for box_layer, class_layer in zip(head.box_layers, head.class_layers, strict=True):
        assert box_layer.bias.tolist() == [1] * 68
        torch.testing.assert_close(class_layer.bias.sigmoid(), torch.full((3,), 0.01))
    assert float(head.box_convs[1].fc.weight.abs().max().detach()) < 0.005


@torch.no_grad()
def test_fuses() -> None:
    head = make()
    fused = fused_copy(head)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    inputs = features()
    for expected, found in zip(head(inputs), fused(inputs), strict=True):
        assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10


def test_one_bin() -> None:
    with pytest.raises(ValueError, match="argument 'bins': expected at least 2 bins of a distribu"):
        make(bins=1)
