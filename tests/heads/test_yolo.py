"""The anchor-based head: raw outputs, decoding, prior biases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detector.heads.yolo import Detect
from detector.utils.errors import DetectorError

ANCHORS = [[10.0, 13, 16, 30, 33, 23], [30.0, 61, 62, 45, 59, 119], [116.0, 90, 156, 198, 373, 326]]
STRIDES = (8, 16, 32)


def head(nc: int = 80, anchors: int | list[list[float]] = 3) -> Detect:
    return Detect(nc, anchors, c_in=(4, 8, 16), strides=STRIDES)


def features(side: int) -> list[Tensor]:
    return [
        torch.rand(2, c, side // s, side // s) for c, s in zip((4, 8, 16), STRIDES, strict=True)
    ]


def test_shapes_and_number_of_boxes() -> None:
    detect = head(anchors=ANCHORS)
    raw_outputs = detect(features(640))
    assert [tuple(m.shape) for m in raw_outputs] == [
        (2, 3, 80, 80, 85),
        (2, 3, 40, 40, 85),
        (2, 3, 20, 20, 85),
    ]
    boxes, scores = detect.decode(raw_outputs)
    assert boxes.shape == (2, 25_200, 4)
    assert scores.shape == (2, 25_200, 80)


def test_no_image() -> None:
    detect = head(anchors=ANCHORS)
    boxes, scores = detect.decode(detect([one[:0] for one in features(64)]))
    assert boxes.shape == (0, 252, 4)  # 3 · (64 + 16 + 4)
    assert scores.shape == (0, 252, 80)


def test_training_and_evaluation_return_the_same() -> None:
    detect, inputs = head(anchors=ANCHORS), features(64)
    for trained, evaluated in zip(detect.train()(inputs), detect.eval()(inputs), strict=True):
        torch.testing.assert_close(trained, evaluated, rtol=0, atol=0)


def test_raw_outputs_are_the_convolutions_outputs() -> None:
    """Channel a · (5 + nc) + k of the convolution is value k of anchor a, as in YOLOv5."""
    detect, inputs = head(nc=2), features(64)
    for level, raw in enumerate(detect(inputs)):
        conv = detect.m[level](inputs[level])
        for anchor, value in ((0, 0), (1, 4), (2, 6)):
            torch.testing.assert_close(raw[:, anchor, ..., value], conv[:, anchor * 7 + value])


def test_decode_by_hand() -> None:
    detect = Detect(2, [[16.0, 8.0], [40.0, 40.0]], c_in=(4, 4), strides=(8, 16))
    first, second = torch.full((1, 1, 2, 2, 7), -20.0), torch.zeros(1, 1, 1, 1, 7)
    # Logits 0 but objectness ln 3 and class 1 ln 4: centre of cell (0, 0) at stride 16 is (8, 8),
    # size that of the anchor; σ = ¾ and ⅘.
    second[..., 4], second[..., 6] = math.log(3), math.log(4)
    boxes, scores = detect.decode([first, second])
    assert boxes.shape == (1, 5, 4)
    torch.testing.assert_close(boxes[0, 4], torch.tensor([-12.0, -12.0, 28.0, 28.0]))
    torch.testing.assert_close(scores[0, 4], torch.tensor([0.75 * 0.5, 0.75 * 0.8]))
    assert scores[0, :4].max() < 1e-8


def test_single_boxes_are_decoded_as_all_are() -> None:
    """Anchor 1, row 3, column 2 of stride 16 is number 192 + 16 + 3 · 4 + 2 of the 64 pixels."""
    detect = head(nc=2, anchors=ANCHORS)
    raw_outputs = [torch.randn(2, 3, 64 // s, 64 // s, 7) for s in STRIDES]
    boxes, scores = detect.decode(raw_outputs)
    raw = raw_outputs[1][:, 1, 3, 2]
    level, cells_xy, anchor = torch.tensor([1, 1]), torch.tensor([[2, 3]] * 2), torch.tensor([1, 1])
    assert torch.equal(detect.decode_boxes(raw[:, :4], level, cells_xy, anchor), boxes[:, 222])
    assert torch.equal(detect.decode_scores(raw[:, 4:]), scores[:, 222])
    none = level[:0]
    assert detect.decode_boxes(raw[:0, :4], none, cells_xy[:0], none).shape == (0, 4)


def test_levels_come_one_after_the_other() -> None:
    detect = head(nc=1)
    raw_outputs = [torch.zeros(1, 3, 64 // s, 64 // s, 6) for s in STRIDES]
    raw_outputs[1][0, 2, 1, 3, 4:] = 20.0  # anchor 2, row 1, column 3 of stride 16
    _, scores = detect.decode(raw_outputs)
    # 3 · 8 · 8 boxes of stride 8, then 2 anchors of 4 · 4, then row 1, column 3.
    assert int(scores[0, :, 0].argmax()) == 192 + 2 * 16 + 1 * 4 + 3


@pytest.mark.parametrize("nc", [1, 80])
def test_prior_of_the_biases(nc: int) -> None:
    torch.manual_seed(0)
    detect = head(nc)
    before = [torch.zeros_like(conv.bias) for conv in detect.m]  # type: ignore[arg-type, union-attr]
    for conv in detect.m:
        conv.bias.data.zero_()  # type: ignore[union-attr]
    detect.initialize_biases()
    for conv, zero, stride in zip(detect.m, before, STRIDES, strict=True):
        bias = (conv.bias - zero).view(3, 5 + nc)  # type: ignore[operator, union-attr]
        assert bias[:, :4].abs().max() == 0
        expected = math.log(8 / (640 / stride) ** 2)
        assert bias[0, 4].item() == pytest.approx(expected, rel=1e-5)
        assert bias[2, 5].item() == pytest.approx(math.log(0.6 / (nc - 0.99999)), rel=1e-5)


def test_number_of_anchors_must_be_fitted_before_training() -> None:
    detect = head(anchors=2)
    assert detect.anchors_wh.shape == (3, 2, 2)
    assert detect.anchors_wh[:, 0, 0].tolist() == [32, 64, 128]  # placeholders of 4 strides
    with pytest.raises(DetectorError, match=r"only the number of anchors; .* `detector anchors"):
        detect.check_trainable()
    head(anchors=ANCHORS).check_trainable()


def test_anchors_travel_with_the_weights() -> None:
    ours, theirs = head(anchors=ANCHORS), head(anchors=3)
    theirs.load_state_dict(ours.state_dict())
    assert theirs.anchors_wh.equal(ours.anchors_wh)
    assert ours.anchors_wh[1].tolist() == [[30, 61], [62, 45], [59, 119]]


@pytest.mark.parametrize(
    ("nc", "anchors", "message"),
    [
        (0, 3, "^argument 'nc': expected at least 1 class, found 0$"),
        (1, 0, "^argument 'anchors': expected at least 1, found 0$"),
        (1, ANCHORS[:2], "^anchors: expected 3 levels, found 2$"),
        (1, [[10.0, 13.0], [1.0, 2.0], [1.0]], "the same number of width, height pairs .* 2, 2, 1"),
        (1, [[10.0, 0.0]] * 3, "^anchors: expected widths and heights above 0$"),
    ],
)
def test_refused(nc: int, anchors: int | list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(nc, anchors)
