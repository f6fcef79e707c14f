"""Distillation of outputs and features, against numbers computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.heads.distribution import DFLHead
from detector.heads.yolo import Detect
from detector.heads.yolox import YOLOXHead
from detector.losses import DistributionLoss, YoloLoss, YoloxLoss
from detector.losses.channel_distillation import channel_divergence
from detector.losses.distillation import (
    DistanceDistillation,
    MainDistillation,
    OutputDistillation,
    YoloDistillation,
    YoloxDistillation,
    binary_divergence,
    divergence,
)
from detector.settings.heads import (
    DistributionLossSettings,
    YoloLossSettings,
    YoloxLossSettings,
)
from tests.losses.conftest import ciou, sigmoid
from tests.losses.test_shares import IMAGES, FakeAllReduce, make

HEADS = ("yolo", "yolox", "distribution", "distances")


def from_half(probability: float) -> float:
    """KL divergence of a Bernoulli distribution, of a network whose logit is 0."""
    other = 1 - probability
    return probability * math.log(2 * probability) + other * math.log(2 * other)


def row(*values: float) -> Tensor:
    """Raw outputs of one image with one cell, (1, 1, 1, k)."""
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


def distillation(name: str) -> tuple[OutputDistillation, list[Tensor]]:
    loss: Any
    loss, raw = make(name)
    kinds: dict[str, Any] = {"yolo": YoloDistillation, "yolox": YoloxDistillation}
    return kinds.get(name, DistanceDistillation)(loss), raw


def test_divergences() -> None:
    # ¼ ln(¼ / ½) + ¾ ln(¾ / ½)
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    teacher = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    assert float(divergence(torch.zeros(2).double(), teacher)) == pytest.approx(expected)
    assert float(binary_divergence(torch.zeros(1).double(), teacher[1:])) == pytest.approx(expected)
    assert float(divergence(teacher, teacher)) == 0
    assert from_half(0.75) == pytest.approx(expected)


def test_detect_by_hand() -> None:
    head = Detect(2, [[8, 8]], [4], [8])
    loss = YoloDistillation(YoloLoss(head, YoloLossSettings(), side=640))
    # Student: centre (2 · ½ − ½) · 8 = 4, sides (2 · ½)² · 8 = 8. Teacher: σ(−ln 3) = ¼ makes the
    # height (2 · ¼)² · 8 = 2.
    teacher = row(0, 0, 0, -math.log(3), 1, 2, -1)[None]
    weight = sigmoid(1)
    # One level: gains are three times as large, 0.15, 3 and 0.5 · 2 / 80 · 3; the level's weight
    # is 4. The confidences add up to less than 1.
    box = (1 - ciou([0, 0, 8, 8], [0, 3, 8, 5])) * 0.15
    classes = (from_half(sigmoid(2)) + from_half(sigmoid(-1))) / 2 * 0.0375
    expected = (box + classes) * weight + from_half(weight) * 4 * 3
    found = loss([torch.zeros_like(teacher)], [teacher])
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_of_one_class_the_objectness_is_the_score() -> None:
    head = Detect(1, [[8, 8]], [4], [8])
    loss = YoloDistillation(YoloLoss(head, YoloLossSettings(), side=640))
    teacher = row(0, 0, 0, 0, 1, 5)[None]
    found = loss([torch.zeros_like(teacher)], [teacher])
    assert float(found) == pytest.approx(from_half(sigmoid(1)) * 4 * 3, rel=1e-6)


def test_yolox_by_hand() -> None:
    head = YOLOXHead(2, 8, c_in=[8], strides=[8])
    loss = YoloxDistillation(YoloxLoss(head, YoloxLossSettings()))
    # Student −4..4, teacher half as high: IoU ½, loss 1 − ¼.
    teacher = row(0, 0, 0, math.log(0.5), 1, 2, -1)
    weight = sigmoid(1)
    pair = 0.75 * 5 + from_half(sigmoid(2)) + from_half(sigmoid(-1))
    found = loss([torch.zeros_like(teacher)], [teacher])
    assert float(found) == pytest.approx(pair * weight + from_half(weight), rel=1e-6)


def test_distances_by_hand() -> None:
    head = DFLHead(1, 2, c_in=[8], strides=[8])
    loss = DistanceDistillation(DistributionLoss(head, DistributionLossSettings()))
    # Student: the mean of bins 0 and 1, ½ · 8 = 4 px to each side of the centre at 4. Teacher:
    # ¾ · 8 = 6 px to the left.
    teacher = row(0, math.log(3), 0, 0, 0, 0, 0, 0, 2)
    box = (1 - ciou([0, 0, 8, 8], [-2, 0, 8, 8])) * 7.5
    bins = from_half(0.75) / 4 * 1.5
    weight = sigmoid(2)
    found = loss([torch.zeros_like(teacher)], [teacher])
    assert float(found) == pytest.approx((box + bins) * weight + from_half(weight) * 0.5, rel=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_a_student_like_its_teacher_has_nothing_to_learn(name: str) -> None:
    loss, raw = distillation(name)
    raw = [level.detach().abs().requires_grad_() for level in raw]  # distances of real boxes
    value = loss(raw, [level.detach() for level in raw])
    # CIoU adds 1e-7 to its divisors.
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    for gradient in torch.autograd.grad(value, raw):
        assert float(gradient.abs().max()) < 1e-6


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("processes", [2, 7])
def test_shares_add_up(name: str, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7 processes that share 5 images, two have none."""
    loss, raw = distillation(name)
    torch.manual_seed(1)
    teacher = [torch.randn_like(level) for level in raw]
    whole = loss(raw, teacher)
    expected = torch.autograd.grad(whole, raw)
    all_reduce = FakeAllReduce()
    monkeypatch.setattr("detector.losses.distillation.all_reduce_sum", all_reduce)
    shares = [list(range(rank, IMAGES, processes)) for rank in range(processes)]

    def of(share: list[int]) -> Tensor:
        return loss([level[share] for level in raw], [level[share] for level in teacher])

    for share in shares:
        all_reduce.parts.append([])
        of(share)
    all_reduce.sums = [torch.stack(parts).sum(0) for parts in zip(*all_reduce.parts, strict=True)]
    total = torch.stack([of(share) for share in shares]).sum()
    assert float(total.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)
    for one, other in zip(torch.autograd.grad(total, raw), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_of_two_heads_the_main_one_learns() -> None:
    loss, raw = distillation("yolo")
    teacher = [torch.zeros_like(level) for level in raw]
    found = MainDistillation(loss)({"main": raw, "auxiliary": None}, teacher)
    assert torch.equal(found, loss(raw, teacher))


# -------------------------------------------------------------------------------------- features


def test_channel_divergence_by_hand() -> None:
    # Two channels of two places. The first: the student looks at both alike, the teacher at ¼ and
    # ¾. The second is the same but for a constant, which a softmax does not see.
    student = torch.tensor([[[[0.0, 0.0]], [[1.0, 2.0]]]])
    teacher = torch.tensor([[[[0.0, math.log(3)]], [[6.0, 7.0]]]])
    expected = (0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2
    assert channel_divergence(student, teacher).tolist() == pytest.approx([expected])


def test_channel_divergence_of_no_image() -> None:
    empty = torch.zeros(0, 3, 4, 4, requires_grad=True)
    value = channel_divergence(empty, torch.zeros(0, 3, 4, 4)).sum()
    assert float(value) == 0
    assert torch.autograd.grad(value, empty)[0].shape == (0, 3, 4, 4)
