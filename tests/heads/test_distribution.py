"""Heads that predict distributions: decoding, widths, start biases."""

from __future__ import annotations

import math

import pytest
import torch

from detector.heads.distribution import DFLHead, GroupedDFLHead, expected_distances

STRIDES = (8, 16, 32)


def test_distances_are_means_of_bins() -> None:
    """One bin of 3; two equal bins 1 and 2; all equal: 7.5 of 16."""
    raw = torch.zeros(3, 4, 16)
    raw[0, :, 3] = 100
    raw[1, :, 1:3] = 100
    expected = torch.tensor([3.0, 1.5, 7.5])[:, None].expand(-1, 4)
    torch.testing.assert_close(expected_distances(raw.flatten(1)), expected)


def test_decoding_by_hand() -> None:
    """Distances 1, 2, 3, 0 strides from the centre of the second cell of stride 8: (12, 4)."""
    head = DFLHead(2, bins=4, c_in=(8, 8, 8), strides=STRIDES)
    raw_outputs = [torch.zeros(1, h, w, 18) for h, w in ((4, 8), (2, 4), (1, 2))]
    for side, distance in enumerate((1, 2, 3, 0)):
        raw_outputs[0][0, 0, 1, 4 * side + distance] = 200
    raw_outputs[2][0, 0, 1, 16] = math.log(3)
    boxes_xyxy, scores = head.decode(raw_outputs)
    assert boxes_xyxy.shape == (1, 32 + 8 + 2, 4)
    # left 8, up 16, right 24, down 0
    torch.testing.assert_close(boxes_xyxy[0, 1], torch.tensor([4.0, -12, 36, 4]))
    # equal bins: 1.5 strides of 32 on all sides of (48, 16)
    torch.testing.assert_close(boxes_xyxy[0, -1], torch.tensor([0.0, -32, 96, 64]))
    torch.testing.assert_close(scores[0, -1], torch.tensor([0.75, 0.5]))


@pytest.mark.parametrize(
    ("kind", "first", "classes", "widths"),
    [
        (DFLHead, 64, 80, (64, 80)),  # yolov8n
        (DFLHead, 320, 80, (80, 320)),  # yolov8x: 320 / 4
        (DFLHead, 64, 200, (64, 100)),
        (GroupedDFLHead, 64, 80, (64, 128)),  # v9-t
        (GroupedDFLHead, 256, 80, (64, 256)),  # v9-c
        (GroupedDFLHead, 300, 3, (76, 300)),  # 75, up to a multiple of 4
    ],
)
def test_hidden_widths(
    kind: type[DFLHead], first: int, classes: int, widths: tuple[int, int]
) -> None:
    head = kind(classes, c_in=(first, 2 * first, 2 * first), strides=STRIDES)
    assert tuple(layer.in_channels for layer in (head.box_layers[2], head.class_layers[2])) == (
        widths
    )


def test_start_biases() -> None:
    head = DFLHead(80, c_in=(8, 8, 8), strides=STRIDES)
    # 5 objects among 80 classes and (640 / 32)² cells
    assert float(head.class_layers[2].bias[0].detach()) == pytest.approx(math.log(5 / 80 / 400))
    grouped = GroupedDFLHead(80, c_in=(8, 8, 8), strides=STRIDES)
    assert grouped.class_layers[0].bias.unique().tolist() == [-10]
    assert grouped.box_layers[0].bias.unique().tolist() == [1]
    assert grouped.box_layers[0].groups == 4
