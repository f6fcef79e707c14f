"""Box formats and the IoU family, against hand and torchvision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision import ops

from detector.boxes import (
    area,
    clip,
    complete_iou,
    cxcywh_to_xyxy,
    iou,
    pairwise_iou,
    xyxy_to_cxcywh,
)


def tensor(*boxes: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50 + 0.1
    return torch.cat((corner, corner + size), 1)


@pytest.mark.parametrize(
    ("xyxy", "cxcywh"),
    [((), ()), ((10, 20, 30, 60), (20, 40, 20, 40)), ((-4, -2, 4, 2), (0, 0, 8, 4))],
)
def test_formats(xyxy: tuple[float, ...], cxcywh: tuple[float, ...]) -> None:
    corners, centres = torch.tensor(xyxy).view(-1, 4), torch.tensor(cxcywh).view(-1, 4)
    torch.testing.assert_close(xyxy_to_cxcywh(corners), centres.to(corners.dtype) / 1)
    torch.testing.assert_close(cxcywh_to_xyxy(centres / 1), corners / 1)


@given(st.integers(0, 1000))
def test_formats_are_inverse(seed: int) -> None:
    boxes = random_boxes(5, seed)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_clip_copies() -> None:
    boxes = tensor((-5, -5, 5, 5), (10, 10, 90, 90), (70, 30, 80, 40))
    expected = tensor((0, 0, 5, 5), (10, 10, 60, 40), (60, 30, 60, 40))
    torch.testing.assert_close(clip(boxes, (40, 60)), expected)
    assert boxes[0, 0] == -5


def test_area() -> None:
    assert area(tensor((0, 0, 4, 5), (1, 1, 1, 9))).tolist() == [20, 0]
    assert area(tensor()).shape == (0,)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),  # they touch
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),  # 50 / (100 + 100 − 50)
        ((0, 0, 10, 10), (2, 2, 7, 7), 0.25),  # 25 / 100
        ((3, 3, 3, 3), (3, 3, 3, 3), 0),  # both empty
    ],
)
def test_iou_by_hand(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert iou(torch.tensor(a) / 1, torch.tensor(b) / 1).item() == pytest.approx(expected)


@given(st.integers(0, 1000))
def test_pairwise_iou_is_torchvisions(seed: int) -> None:
    a, b = random_boxes(6, seed), random_boxes(4, seed + 1)
    torch.testing.assert_close(pairwise_iou(a, b), ops.box_iou(a, b))


def test_pairwise_iou_of_none() -> None:
    assert pairwise_iou(tensor(), random_boxes(3, 0)).shape == (0, 3)
    assert pairwise_iou(random_boxes(3, 0), tensor()).shape == (3, 0)


def test_complete_iou_by_hand() -> None:
    # IoU 1/3; centres 5 apart; the box around both is 15 × 10: ρ²/c² = 25 / 325; equal shapes.
    found = complete_iou(tensor((0, 0, 10, 10)), tensor((5, 0, 15, 10)))
    assert found.item() == pytest.approx(1 / 3 - 25 / 325)
    # Same centre, 10 × 20 in 20 × 20: IoU 1/2; v = 4/π² (atan 1/2 − atan 1)², α = v / (1/2 + v).
    found = complete_iou(tensor((5, 0, 15, 20)), tensor((0, 0, 20, 20)))
    v = 4 / math.pi**2 * (math.atan(0.5) - math.atan(1)) ** 2
    assert found.item() == pytest.approx(0.5 - v * v / (0.5 + v), abs=1e-6)


@given(st.integers(0, 1000))
def test_complete_iou_and_its_gradient_are_torchvisions(seed: int) -> None:
    ours = random_boxes(6, seed).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    truth = random_boxes(6, seed + 1)
    loss, expected = 1 - complete_iou(ours, truth), ops.complete_box_iou_loss(theirs, truth)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_complete_iou_of_empty_boxes_has_a_finite_gradient() -> None:
    boxes = tensor((3, 3, 3, 3), (0, 0, 10, 10)).requires_grad_()
    complete_iou(boxes, tensor((3, 3, 3, 3), (2, 2, 2, 2))).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()
