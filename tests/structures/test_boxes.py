"""Box formats and the IoU family, against values by hand and torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision import ops

from detector.structures.boxes import (
    area,
    clip,
    complete_iou,
    cxcywh_to_xyxy,
    distance_iou,
    generalized_iou,
    iou,
    pairwise_iou,
    scylla_iou,
    xyxy_to_cxcywh,
)

Overlap = Callable[[Tensor, Tensor], Tensor]


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


@pytest.mark.parametrize(
    ("ours", "torchvisions"),
    [
        (complete_iou, ops.complete_box_iou_loss),
        (distance_iou, ops.distance_box_iou_loss),
        (generalized_iou, ops.generalized_box_iou_loss),
    ],
)
@given(seed=st.integers(0, 1000))
def test_overlaps_and_their_gradients_are_torchvisions(
    ours: Overlap, torchvisions: Overlap, seed: int
) -> None:
    boxes = random_boxes(6, seed).requires_grad_()
    theirs = boxes.detach().clone().requires_grad_()
    truth = random_boxes(6, seed + 1)
    loss, expected = 1 - ours(boxes, truth), torchvisions(theirs, truth)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(boxes.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def slow_scylla_iou(a: list[float], b: list[float]) -> float:
    """arXiv 2205.12740, equations 1 to 13, written out."""
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    wa, ha, wb, hb = a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]
    overlap = max(w, 0) * max(h, 0)
    overlap /= wa * ha + wb * hb - overlap
    dx, dy = (b[0] + b[2] - a[0] - a[2]) / 2, (b[1] + b[3] - a[1] - a[3]) / 2
    angle = 1 - 2 * math.sin(math.asin(abs(dy) / math.hypot(dx, dy)) - math.pi / 4) ** 2
    gamma = 2 - angle
    cw, ch = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    distance = sum(1 - math.exp(-gamma * rho) for rho in ((dx / cw) ** 2, (dy / ch) ** 2))
    sides = (abs(wa - wb) / max(wa, wb), abs(ha - hb) / max(ha, hb))
    shape = sum((1 - math.exp(-side)) ** 4 for side in sides)
    return overlap - (distance + shape) / 2


@given(st.integers(0, 1000))
def test_scylla_iou_is_that_of_a_loop(seed: int) -> None:
    a, b = random_boxes(6, seed), random_boxes(6, seed + 1)
    expected = [slow_scylla_iou(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    torch.testing.assert_close(scylla_iou(a, b), torch.tensor(expected).double(), atol=1e-6, rtol=0)


def test_scylla_iou_by_hand() -> None:
    # Moved along an axis: Λ = 0, γ = 2; 5 of 15 pixels: Δ = 1 − e^(−2/9); equal sides: Ω = 0.
    found = scylla_iou(tensor((0, 0, 10, 10)), tensor((5, 0, 15, 10)))
    assert found.item() == pytest.approx(1 / 3 - (1 - math.exp(-2 / 9)) / 2, abs=1e-6)
    # Along the diagonal, Λ = 1, γ = 1: IoU 25/175, Δ = 2 (1 − e^(−1/9)).
    found = scylla_iou(tensor((0, 0, 10, 10)), tensor((5, 5, 15, 15)))
    assert found.item() == pytest.approx(1 / 7 - (1 - math.exp(-1 / 9)), abs=1e-6)
    # One centre, one side half of the other: Ω = (1 − e^(−1/2))⁴.
    found = scylla_iou(tensor((5, 0, 15, 20)), tensor((0, 0, 20, 20)))
    assert found.item() == pytest.approx(0.5 - (1 - math.exp(-0.5)) ** 4 / 2, abs=1e-6)


@pytest.mark.parametrize("overlap", [complete_iou, distance_iou, generalized_iou, scylla_iou])
def test_equal_and_empty_boxes_have_finite_gradients(overlap: Overlap) -> None:
    boxes = tensor((3, 3, 3, 3), (0, 0, 10, 10), (2, 2, 7, 8)).requires_grad_()
    found = overlap(boxes, tensor((3, 3, 3, 3), (2, 2, 2, 2), (2, 2, 7, 8)))
    assert found[2].item() == pytest.approx(1)
    found.sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()
    assert overlap(tensor(), tensor()).shape == (0,)
