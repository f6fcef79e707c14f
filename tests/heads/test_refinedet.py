"""RefineDet's head: default boxes, two refinements by hand, raw outputs, arguments of a row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detector.heads.classes import SharedClasses
from detector.heads.refinedet import RefineDetHead
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.transfer import TransferConnection, UpConv
from detector.model.detector import build

# Two levels, of 4 × 4 and of 2 × 2 cells, for an input of 64 pixels.
TWO = {
    "nc": 2,
    "sides": [16, 32],
    "ratios": [[4], [4]],
    "steps": [16, 32],
    "width": 8,
    "imgsz": 64,
}


def head(**values: Any) -> RefineDetHead:
    return RefineDetHead(**{**TWO, "c_in": [8, 16], **values})


def zero_outputs(sides: list[int], classes: int) -> list[torch.Tensor]:
    return [torch.zeros(1, s, s, 3, 11 + classes, dtype=torch.float64) for s in sides]


def test_default_boxes() -> None:
    boxes = head().default_boxes(zero_outputs([4, 2], 2))
    assert boxes.shape == ((16 + 4) * 3, 4)
    # The first centre is (8, 8): 16×16; ratio 4: 32×8 and 8×32
    assert boxes[:3].tolist() == [[0, 0, 16, 16], [-8, 4, 24, 12], [4, -8, 12, 24]]
    # The last one is (48, 48): 64×16 and 16×64
    assert boxes[-2:].tolist() == [[16, 40, 80, 56], [40, 16, 56, 80]]
    # Limited to the input's 64 pixels nothing changes, to 48 the long sides do.
    assert head(clip=True).default_boxes(zero_outputs([4, 2], 2)).equal(boxes)
    clipped = head(clip=True, imgsz=48).default_boxes(zero_outputs([4, 2], 2))
    assert clipped[-2].tolist() == [24, 40, 72, 56]


NETWORKS = [
    ("refinedet320_vgg16", [40, 20, 10, 5], 6375),
    ("refinedet512_vgg16", [64, 32, 16, 8], 16_320),  # 3 · (4096 + 1024 + 256 + 64)
    ("refinedet320_vovnet39", [40, 20, 10, 5], 6375),
]


@pytest.mark.parametrize(("name", "sides", "total"), NETWORKS)
def test_maps_and_anchors_of_the_networks(name: str, sides: list[int], total: int) -> None:
    with torch.device("meta"):
        model = build(name, classes=20).eval()
        raw_outputs = model(torch.empty(1, 3, *model.preprocess.size_hw))
    shapes = [tuple(raw.shape) for raw in raw_outputs]
    assert shapes == [(1, side, side, 3, 4 + 4 + 2 + 1 + 20) for side in sides]
    assert sum(raw[..., 0].numel() for raw in raw_outputs) == total
    assert model.strides == (8, 16, 32, 64)


def test_decode_of_both_refinements_at_the_first_and_the_last_anchor() -> None:
    with torch.device("meta"):
        arguments = build("refinedet320_vgg16", classes=2).plan[-1].arguments
    paper_s = RefineDetHead(**arguments, width=4, c_in=[4] * 4, imgsz=320)
    raw = zero_outputs([40, 20, 10, 5], 2)
    ln2 = math.log(2)
    # The first anchor is 32×32 around (4, 4).
    # It is moved by 0.1 · (1, −2) · 32 = (3.2, −6.4) and e^(0.2 · 5 ln 2) = 2 times as wide:
    # 64×32 around (7.2, −2.4); then by 0.1 · (5, 10) · (64, 32) = (32, 32), half as wide and
    # twice as high: 32×64 around (39.2, 29.6).
    raw[0][0, 0, 0, 0, :8] = torch.tensor([1, -2, 5 * ln2, 0, 5, 10, -5 * ln2, 5 * ln2])
    # ln 2, ln 5, 0: 2/8, 5/8 and 1/8; objectness σ(0) = ½
    raw[0][0, 0, 0, 0, 10:] = torch.tensor([ln2, math.log(5), 0])
    # The last one is 256/√2 × 256·√2 around (288, 288).
    # It is halved in both sides, then moved by 0.1 · (−10, −5) of its sides 64√2 and 128√2.
    raw[3][0, 4, 4, 2, :8] = torch.tensor([0, 0, -5 * ln2, -5 * ln2, -10, -5, 0, 0])
    boxes, scores = paper_s.decode(raw)
    assert (boxes.shape, scores.shape) == ((1, 6375, 4), (1, 6375, 2))
    np.testing.assert_allclose(boxes[0, 0], [39.2 - 16, 0, 39.2 + 16, 29.6 + 32])
    np.testing.assert_allclose(scores[0, 0], [0.625, 0.125])
    w, h = 64 * math.sqrt(2), 128 * math.sqrt(2)
    x, y = 288 - w, 288 - h / 2
    np.testing.assert_allclose(boxes[0, -1], [x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    np.testing.assert_allclose(scores[0, -1], [1 / 3, 1 / 3])


def test_scores_fade_below_the_threshold() -> None:
    """Objectness 0.5, 0.01, 0.005 and 1e-5 keep 1, 1, ½ and 1/1000 of the score."""
    raw = zero_outputs([4, 2], 2)
    for box, probability in ((0, 0.5), (1, 0.01), (2, 0.005)):
        raw[0][0, 0, 0, box, 9] = math.log(probability / (1 - probability))
    raw[0][0, 0, 1, 0, 9] = math.log(1e-5 / (1 - 1e-5))
    _, scores = head().decode(raw)
    np.testing.assert_allclose(scores[0, :4, 0] * 3, [1, 1, 0.5, 0.001])


def test_no_weights_make_an_infinite_box() -> None:
    raw = [torch.full((1, side, side, 3, 13), 1e30) for side in (4, 2)]
    boxes, scores = head().decode(raw)
    assert torch.isfinite(boxes).all()
    assert torch.isfinite(scores).all()


def test_forward_puts_offsets_before_logits() -> None:
    """Each convolution's channels are box after box."""
    one = head()
    convs = {
        "refine.0.offsets": (0, 12),
        "detect.0.offsets": (100, 12),
        "refine.0.logits": (200, 6),
        "detect.0.logits": (300, 9),
    }
    with torch.no_grad():
        for path, (start, count) in convs.items():
            conv = one.get_submodule(path)
            conv.weight.zero_()
            conv.bias.copy_(start + torch.arange(count))
    raw = one([torch.zeros(2, 8, 4, 4), torch.zeros(2, 16, 2, 2)])[0]
    assert raw.shape == (2, 4, 4, 3, 13)
    expected = [4, 5, 6, 7, 104, 105, 106, 107, 202, 203, 303, 304, 305]
    assert raw[1, 0, 2, 1].tolist() == expected
    parts = one.split(raw[1, 0, 2, 1])
    assert parts.refinement.tolist() == [4, 5, 6, 7]
    assert parts.offsets.tolist() == [104, 105, 106, 107]
    assert parts.objectness.tolist() == [202, 203]
    assert parts.classes.tolist() == [303, 304, 305]


def test_the_last_level_has_no_coarser_one() -> None:
    """A change of the coarsest level reaches all levels, one of the finest only itself."""
    torch.manual_seed(0)
    one = head().eval()
    features = [torch.randn(1, 8, 4, 4), torch.randn(1, 16, 2, 2)]
    fine, coarse = one(features)
    changed_fine, same = one([features[0] + 1, features[1]])
    assert same.equal(coarse)
    assert not changed_fine.equal(fine)
    mixed, _ = one([features[0], features[1] + 1])
    parts, before = one.split(mixed), one.split(fine)
    assert parts.refinement.equal(before.refinement)  # the first stage reads the level alone
    assert not parts.offsets.equal(before.offsets)


@pytest.mark.parametrize("norm", [False, True])
def test_transfer_connection_by_definition(norm: bool) -> None:
    block = TransferConnection(6, 4, True, norm, "ReLU").eval()
    randomise_batch_norms(block)
    x, coarser = torch.randn(2, 6, 4, 6), torch.randn(2, 4, 2, 3)
    assert block.up is not None
    expected = block.last(torch.relu(block.second(block.first(x)) + block.up(coarser)))
    torch.testing.assert_close(block(x, coarser), expected)
    assert block(x, coarser).shape == (2, 4, 4, 6)


@pytest.mark.parametrize("norm", [False, True])
def test_fused_up_conv(norm: bool) -> None:
    block = UpConv(5, norm).double()
    randomise_batch_norms(block)
    block.eval()
    fused = block.fuse()
    assert isinstance(fused, nn.ConvTranspose2d)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    difference = (fused(x) - block(x)).abs().max() / block(x).abs().max()
    assert difference <= 1e-10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sides": [16]}, "argument 'sides': expected 2 levels, found 1"),
        ({"ratios": []}, "argument 'ratios': expected 2 levels, found 0"),
        ({"steps": [8, 16, 32]}, "argument 'steps': expected 2 levels, found 3"),
    ],
)
def test_arguments_that_disagree(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        head(**values)
    assert str(caught.value) == message


def test_start_weights_of_other_classes() -> None:
    """Class rows are matched by name; those of background, objects and offsets stay."""
    own, start = head(nc=2), head(nc=3)
    shared = SharedClasses.find(["cat", "dog"], ["cow", "dog", "cat"])
    adapted = own.adapt(start.state_dict(), True, shared)
    assert set(adapted.partly) == {
        f"detect.{level}.logits.{part}" for level in "01" for part in ("weight", "bias")
    }
    mixed = adapted.partly["detect.0.logits.weight"].view(3, 3, 8, 3, 3)
    theirs = start.detect[0].logits.weight.view(3, 4, 8, 3, 3)
    assert mixed.equal(theirs[:, [0, 3, 2]])
