"""YOLOv6's head: raw outputs by definition, decoding with and without bins, start biases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detector.heads.yolov6 import YOLOv6Head
from detector.layers.repvgg import randomise_batch_norms

STRIDES, WIDTHS = (8, 16), (4, 8)


def make(nc: int = 3, bins: int = 0) -> YOLOv6Head:
    torch.manual_seed(0)
    head = YOLOv6Head(nc, bins, c_in=WIDTHS, strides=STRIDES).eval()
    randomise_batch_norms(head)
    return head


def features(height: int = 32, width: int = 48) -> list[Tensor]:
    sizes = zip(WIDTHS, STRIDES, strict=True)
    return [torch.rand(2, c, height // s, width // s) for c, s in sizes]


@pytest.mark.parametrize(("bins", "values"), [(0, 4), (2, 8), (17, 68)])
@torch.no_grad()
def test_raw_outputs_by_definition(bins: int, values: int) -> None:
    """Stem, then a 3×3 conv and a 1×1 convolution for the box, and the same for the classes."""
    head, inputs = make(bins=bins), features()
    raw_outputs = head(inputs)
    assert [tuple(raw.shape) for raw in raw_outputs] == [
        (2, 4, 6, values + 3),
        (2, 2, 3, values + 3),
    ]
    for level, feature in enumerate(inputs):
        hidden = head.stems[level](feature)
        expected = torch.cat(
            (
                head.box_layers[level](head.box_convs[level](hidden)),
                head.class_layers[level](head.class_convs[level](hidden)),
            ),
            1,
        )
        torch.testing.assert_close(raw_outputs[level], expected.permute(0, 2, 3, 1))


def test_kernels_and_widths() -> None:
    head = make()
    for level, width in enumerate(WIDTHS):
        assert head.stems[level].conv.weight.shape == (width, width, 1, 1)
        for convs in (head.box_convs, head.class_convs):
            assert convs[level].conv.weight.shape == (width, width, 3, 3)
    assert {type(m.act) for m in head.modules() if hasattr(m, "act")} == {nn.SiLU}


def test_decoding_without_bins() -> None:
    """Raw 1, 2, 3, 0.5 are 8, 16, 24, 4 pixels from the centre (12, 4) of the second cell."""
    raw_outputs = [torch.zeros(1, 4, 6, 7), torch.zeros(1, 2, 3, 7)]
    raw_outputs[0][0, 0, 1, :4] = torch.tensor([1, 2, 3, 0.5])
    boxes_xyxy, scores = make().decode(raw_outputs)
    assert boxes_xyxy.shape == (1, 30, 4)
    torch.testing.assert_close(boxes_xyxy[0, 1], torch.tensor([4.0, -12, 36, 8]))
    torch.testing.assert_close(scores, torch.full((1, 30, 3), 0.5))


def test_decoding_with_bins() -> None:
    """Equal logits of bins 0, 1, 2: 1 stride of 16 on all sides of (40, 24)."""
    raw_outputs = [torch.zeros(1, 4, 6, 15), torch.zeros(1, 2, 3, 15)]
    boxes_xyxy, _ = make(bins=3).decode(raw_outputs)
    torch.testing.assert_close(boxes_xyxy[0, -1], torch.tensor([24.0, 8, 56, 40]))


def test_start_biases() -> None:
    head = make()
    for layer in head.class_layers:
        torch.testing.assert_close(layer.bias.sigmoid(), torch.full_like(layer.bias, 0.01))
    assert [layer.bias.tolist() for layer in head.box_layers] == [[1] * 4] * 2


def test_one_bin() -> None:
    with pytest.raises(ValueError, match="argument 'bins': expected at least 2 bins of a distribu"):
        make(bins=1)
