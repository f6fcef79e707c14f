"""YOLOX's loss against a slow float64 loop, and its edge cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.assigners import DecodedPredictions
from detector.heads.yolox import YOLOXHead
from detector.losses import YoloxLoss
from detector.settings.heads import YoloxLossSettings
from detector.structures.samples import Targets
from tests.assigners.conftest import CLASSES, random_targets, slow_iou
from tests.losses.conftest import OUTSIDE, TIES, bce

STRIDES, SIZES_HW, IMAGES = (8, 16), ((8, 10), (4, 5)), 3


def make_loss(**settings: Any) -> YoloxLoss:
    head = YOLOXHead(CLASSES, 8, c_in=(8, 8), strides=STRIDES)
    return YoloxLoss(head, YoloxLossSettings(**settings))


def make_raw_outputs(coarse: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    raw_outputs = [
        torch.randn(IMAGES, h, w, 5 + CLASSES, generator=generator).double() for h, w in SIZES_HW
    ]
    return [(raw.round() if coarse else raw).requires_grad_() for raw in raw_outputs]


def slow_loss(loss: YoloxLoss, raw_outputs: list[Tensor], targets: Targets) -> dict[str, float]:
    """Compute the loss value by value; the pairs are those of the assigner, which has its tests."""
    head, smoothing = loss.head, loss.settings.label_smoothing
    pairs = loss.assigner(
        targets, head.points(raw_outputs), DecodedPredictions(*head.decode(raw_outputs))
    )
    found = zip(pairs.image.tolist(), pairs.prediction.tolist(), pairs.target.tolist(), strict=True)
    places = [
        (level, y, x)
        for level, (height, width) in enumerate(SIZES_HW)
        for y in range(height)
        for x in range(width)
    ]
    total = {"loss_box": 0.0, "loss_objectness": 0.0, "loss_class": 0.0, "loss_l1": 0.0}
    positive = set()
    for image, prediction, target in found:
        level, y, x = places[prediction]
        raw, stride = raw_outputs[level][image, y, x].tolist(), STRIDES[level]
        cx, cy = (raw[0] + x) * stride, (raw[1] + y) * stride
        w, h = math.exp(raw[2]) * stride, math.exp(raw[3]) * stride
        box = targets.boxes_xyxy[target].tolist()
        overlap = slow_iou([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], box)
        total["loss_box"] += 5 * (1 - overlap**2)
        for number in range(CLASSES):
            wanted = overlap if number == int(targets.class_ids[target]) else 0.0
            wanted = wanted * (1 - smoothing) + smoothing / 2
            total["loss_class"] += bce(raw[5 + number], wanted)
        x1, y1, x2, y2 = box
        wanted_raw = [
            (x1 + x2) / 2 / stride - x,
            (y1 + y2) / 2 / stride - y,
            math.log((x2 - x1) / stride),
            math.log((y2 - y1) / stride),
        ]
        total["loss_l1"] += sum(abs(a - b) for a, b in zip(raw[:4], wanted_raw, strict=True))
        positive.add((image, prediction))
    for image in range(IMAGES):
        for prediction, (level, y, x) in enumerate(places):
            logit = float(raw_outputs[level][image, y, x, 4])
            total["loss_objectness"] += bce(logit, float((image, prediction) in positive))
    return {name: value / max(len(positive), 1) for name, value in total.items()}


CASES = {
    "none": random_targets(0),
    "one": random_targets(1),
    "hundred": random_targets(100, seed=2),
    "repeated": random_targets(20, seed=3, different=5),
    "outside": OUTSIDE,
}


@pytest.mark.parametrize("coarse", [False, True], ids=["", TIES])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("assigner", "smoothing"), [("simota", 0.0), ("aligned", 0.1)])
def test_equal_to_a_slow_loop(case: str, coarse: bool, assigner: str, smoothing: float) -> None:
    loss = make_loss(assigner=assigner, label_smoothing=smoothing, l1_gain=1.0)
    raw_outputs = make_raw_outputs(coarse)
    found = loss(raw_outputs, CASES[case])
    expected = slow_loss(loss, [raw.detach() for raw in raw_outputs], CASES[case])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_gains_multiply_and_l1_is_asked_for() -> None:
    raw_outputs, targets = make_raw_outputs(), random_targets(10)
    plain = make_loss()(raw_outputs, targets)
    gained = make_loss(box_gain=10.0, objectness_gain=3.0, class_gain=0.0)(raw_outputs, targets)
    assert plain.keys() == {"loss_box", "loss_objectness", "loss_class"}
    ratios = [float(gained[name].detach() / plain[name].detach()) for name in plain]
    assert ratios == pytest.approx([2, 3, 0])


def test_images_without_boxes_teach_the_objectness_only() -> None:
    raw_outputs = make_raw_outputs()
    losses = make_loss(l1_gain=1.0)(raw_outputs, random_targets(0))
    torch.stack(list(losses.values())).sum().backward()
    assert float(losses["loss_box"].detach()) == float(losses["loss_class"].detach()) == 0
    for raw in raw_outputs:
        assert raw.grad is not None
        assert raw.grad[..., 4].all()
        assert not raw.grad[..., :4].any()
        assert not raw.grad[..., 5:].any()
