"""Dynamic assignment against a slow float64 loop."""

from __future__ import annotations

import math

import pytest
import torch

from detector.assigners import RatioAssigner, SimOtaAssigner
from detector.structures.samples import Targets
from tests.assigners.conftest import (
    GRID,
    as_set,
    cheapest_target,
    decoded,
    random_raw,
    random_targets,
    slow_box,
    slow_iou,
)

PRIOR = RatioAssigner(4.0)


def slow_assignment(targets: Targets, raw: torch.Tensor) -> set[tuple[int, int, int]]:
    """Take each target's predictions of lowest cost, then resolve conflicts."""
    candidates = PRIOR(targets, GRID)
    taken = {}
    for target, box in enumerate(targets.boxes_xyxy.tolist()):
        costs = []
        for k in (candidates.target == target).nonzero().flatten().tolist():
            image, prediction = int(candidates.image[k]), int(candidates.prediction[k])
            overlap = slow_iou(slow_box(raw, image, prediction), box)
            objectness, *classes = raw[image, prediction, 4:].sigmoid().tolist()
            cost = -3 * math.log(max(overlap, 1e-8))
            for number, probability in enumerate(classes):
                p = math.sqrt(objectness * probability)
                cost -= math.log(p if number == int(targets.class_ids[target]) else 1 - p)
            costs.append((cost, k, overlap, (image, prediction, target)))
        best = sorted((overlap for _, _, overlap, _ in costs), reverse=True)[:10]
        for cost, _, _, pair in sorted(costs)[: max(int(sum(best)), 1)]:
            taken[pair] = cost
    return cheapest_target(taken)


@pytest.mark.parametrize("count", [0, 1, 5, 60])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_a_loop(count: int, seed: int) -> None:
    targets, raw = random_targets(count, seed), random_raw(seed)
    found = SimOtaAssigner(PRIOR)(targets, GRID, decoded(raw))
    assert as_set(found) == slow_assignment(targets, raw)


def test_many_images_are_assigned_as_each_by_itself() -> None:
    targets, raw = random_targets(80, images=16), random_raw(images=16)
    whole = as_set(SimOtaAssigner(PRIOR)(targets, GRID, decoded(raw)))
    parts = set()
    for image in range(16):
        own = (targets.image_index == image).nonzero().flatten()
        part = Targets(targets.boxes_xyxy[own], targets.class_ids[own], torch.zeros_like(own))
        found = as_set(SimOtaAssigner(PRIOR)(part, GRID, decoded(raw[image : image + 1])))
        parts |= {(image, prediction, int(own[target])) for _, prediction, target in found}
    assert whole == parts


def test_equal_targets_share_no_prediction() -> None:
    """Each of five boxes four times, on predictions of whole logits: ties everywhere."""
    targets, raw = random_targets(20, images=1, different=5), random_raw(images=1, coarse=True)
    found = SimOtaAssigner(PRIOR)(targets, GRID, decoded(raw))
    assert len({(i, p) for i, p, _ in as_set(found)}) == len(found)
    # Of equal costs the first target's counts.
    assert found.target.max() < 5


def test_the_better_the_overlaps_the_more_predictions() -> None:
    """At zero logits the three cells of a target give its box, moved by a cell each.

    The 12×20 anchor in the home cell, centre (44, 44): box 38…50, 34…54, IoU 1. One cell right,
    moved by 8: 4 · 20 = 80 of 480 − 80, IoU 0.2; one cell down: 12 · 12 = 144 of 480 − 144, 0.43.
    The 8×8 anchor: 64 / 240 = 0.27 at home; moved right 2 · 8 of 304 − 16, 0.06; down 6 · 8 of
    304 − 48 … 0.27 (it lies inside, 46…54 high). The 30×24 anchor of the next level, stride 16,
    is centred at (40, 40) at home. Sum of the ten largest: above 2 and below 3.
    """
    targets = Targets(
        torch.tensor([[38.0, 34, 50, 54]], dtype=torch.float64),
        torch.tensor([1]),
        torch.tensor([0]),
    )
    raw = torch.zeros(1, len(GRID), 8, dtype=torch.float64)
    candidates = PRIOR(targets, GRID)
    boxes, _ = decoded(raw).all_classes(candidates)
    overlaps = [slow_iou(box, targets.boxes_xyxy[0].tolist()) for box in boxes.tolist()]
    budget = int(sum(sorted(overlaps, reverse=True)[:10]))
    assert max(overlaps) == 1
    assert budget == 2
    found = SimOtaAssigner(PRIOR)(targets, GRID, decoded(raw))
    # All classes cost the same: the two largest overlaps are taken.
    chosen = sorted(zip(overlaps, candidates.prediction.tolist(), strict=True))[-2:]
    assert sorted(found.prediction.tolist()) == sorted(prediction for _, prediction in chosen)


def test_no_gradient_and_no_boxes() -> None:
    raw = random_raw().requires_grad_()
    found = SimOtaAssigner(PRIOR)(random_targets(0), GRID, decoded(raw))
    assert len(found) == 0
    assert found.image.dtype == found.prediction.dtype == found.target.dtype == torch.int64
