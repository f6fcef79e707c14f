"""Task-aligned assignment against a slow float64 loop."""

from __future__ import annotations

import pytest
import torch

from detector.assigners import AlignedAssigner, inside_box
from detector.structures.samples import Targets
from tests.assigners.conftest import (
    GRID,
    STRIDES,
    all_places,
    as_set,
    cheapest_target,
    decoded,
    random_raw,
    random_targets,
    slow_box,
    slow_iou,
)


def slow_candidates(targets: Targets) -> set[tuple[int, int, int]]:
    pairs = set()
    for target, (x1, y1, x2, y2) in enumerate(targets.boxes_xyxy.tolist()):
        for prediction, (level, row, column, _) in enumerate(all_places()):
            stride = STRIDES[level]
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            inside = x1 < x < x2 and y1 < y < y2
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            home = abs(x - cx) <= stride / 2 and abs(y - cy) <= stride / 2
            if inside or home:
                pairs.add((int(targets.image_index[target]), prediction, target))
    return pairs


def slow_assignment(targets: Targets, raw: torch.Tensor, top: int) -> set[tuple[int, int, int]]:
    """Take each target's best aligned predictions, then resolve conflicts by the largest IoU."""
    measured: dict[int, list] = {}
    for image, prediction, target in slow_candidates(targets):
        box = targets.boxes_xyxy[target].tolist()
        overlap = slow_iou(slow_box(raw, image, prediction), box)
        objectness = float(raw[image, prediction, 4].sigmoid())
        own_class = float(raw[image, prediction, 5 + int(targets.class_ids[target])].sigmoid())
        alignment = objectness * own_class * overlap**6
        if alignment > 0:
            pair = (image, prediction, target)
            measured.setdefault(target, []).append((alignment, overlap, pair))
    taken = {}
    for pairs in measured.values():
        for _, overlap, pair in sorted(pairs, reverse=True)[:top]:
            taken[pair] = -overlap
    return cheapest_target(taken)


@pytest.mark.parametrize("count", [0, 1, 5, 60])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_a_loop(count: int, seed: int) -> None:
    targets, raw = random_targets(count, seed), random_raw(seed)
    assert as_set(inside_box(targets, GRID)) == slow_candidates(targets)
    found = AlignedAssigner(top=4)(targets, GRID, decoded(raw))
    assert as_set(found) == slow_assignment(targets, raw, 4)


def test_many_images() -> None:
    targets, raw = random_targets(80, images=16), random_raw(images=16)
    found = as_set(AlignedAssigner()(targets, GRID, decoded(raw)))
    assert found == slow_assignment(targets, raw, 13)
    assert {image for image, _, _ in found} == set(targets.image_index.tolist())


def test_a_box_smaller_than_a_cell_has_its_own_cell() -> None:
    """2×2 pixels around (18, 18): no cell centre lies inside; cell (2, 2) of stride 8 holds it."""
    targets = Targets(
        torch.tensor([[17.0, 17, 19, 19]], dtype=torch.float64),
        torch.tensor([0]),
        torch.tensor([0]),
    )
    places = [all_places()[p] for p in inside_box(targets, GRID).prediction.tolist()]
    assert sorted(places) == [(0, 2, 2, 0), (0, 2, 2, 1), (1, 1, 1, 0), (1, 1, 1, 1)]


def test_equal_targets_share_no_prediction() -> None:
    """Each of five boxes four times, on predictions of whole logits: ties everywhere."""
    targets, raw = random_targets(20, images=1, different=5), random_raw(images=1, coarse=True)
    found = AlignedAssigner()(targets, GRID, decoded(raw))
    assert len({(i, p) for i, p, _ in as_set(found)}) == len(found)
    assert set(found.target.tolist()) == set(range(5))  # of equals the first one


def test_class_and_box_decide_together() -> None:
    """Two predictions of the same box: the one that knows the class is taken."""
    targets = Targets(
        torch.tensor([[32.0, 32, 40, 40]], dtype=torch.float64),
        torch.tensor([2]),
        torch.tensor([0]),
    )
    raw = torch.zeros(1, len(GRID), 8, dtype=torch.float64)
    knows = all_places().index((0, 4, 4, 1))  # 12×20 around the target: IoU 64 / 240
    raw[0, :, 5 + 2] = -5
    raw[0, knows, 5 + 2] = 5
    found = AlignedAssigner(beta=1.0, top=1)(targets, GRID, decoded(raw))
    # The 8×8 anchor gives the box exactly: 1 · σ(−5) = 0.007 against 0.267 · σ(5) = 0.265.
    assert found.prediction.tolist() == [knows]
    found = AlignedAssigner(beta=6.0, top=1)(targets, GRID, decoded(raw))
    # 0.267⁶ = 0.00036 · 0.993 against 0.0067
    assert all_places()[int(found.prediction)] == (0, 4, 4, 0)
