"""SSD's matching, against hand-made cases and a slow loop."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.assigners import IouAssigner, best_pairs
from detector.structures.samples import Targets


def ssd_targets(*boxes: list[float], image: list[int] | None = None) -> Targets:
    return Targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.zeros(len(boxes), dtype=torch.int64),
        torch.tensor(image or [0] * len(boxes), dtype=torch.int64),
    )


def test_iou_matching_by_hand():
    """The IoUs with [0, 0, 10, 10] are 1/2, 49/100 and 25/175 = 0.14."""
    defaults = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 7, 7], [5, 5, 15, 15], [20, 20, 30, 30]]
    )
    found = IouAssigner()(ssd_targets([0, 0, 10, 10]), defaults, batch=2)
    assert found.tolist() == [[0, 0, -1, -1, -1], [-1] * 5]


def test_a_target_without_any_overlap_of_half_gets_its_best_box():
    defaults = torch.tensor([[0.0, 0, 10, 10], [0, 0, 100, 100]])
    assert IouAssigner()(ssd_targets([0, 0, 3, 3]), defaults, 1).tolist() == [[0, -1]]


def test_a_box_belongs_to_the_target_it_overlaps_most():
    defaults = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8]])
    targets = ssd_targets([0, 0, 10, 8], [0, 0, 10, 10])
    # the box in the middle: IoU 8/9 with the first, 9/10 with the second
    assert IouAssigner()(targets, defaults, 1).tolist() == [[1, 1, 0]]


def test_targets_are_numbered_through_the_batch():
    defaults = torch.tensor([[0.0, 0, 10, 10]])
    targets = ssd_targets([0, 0, 10, 10], [0, 0, 10, 9], image=[2, 0])
    assert IouAssigner()(targets, defaults, 3).tolist() == [[1], [-1], [0]]


def test_two_targets_that_want_the_same_box():
    """The target of larger IoU gets the box; the other one gets a free box of any IoU."""
    overlaps = torch.tensor([[0.6, 0.1, 0.0], [0.7, 0.2, 0.3]])
    assert best_pairs(overlaps).tolist() == [1, 0]
    # The first target's pair comes before the second's claim by IoU.
    assert IouAssigner().match(overlaps).tolist() == [1, 0, -1]


@given(st.integers(0, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_best_pairs_equals_a_loop(m: int, n: int, seed: int):
    """Values from a small set make many ties."""
    overlaps = torch.randint(0, 5, (m, n), generator=torch.Generator().manual_seed(seed)) / 4
    expected = [-1] * m
    pairs = [(-float(overlaps[i, j]), i, j) for i in range(m) for j in range(n)]
    for value, i, j in sorted(pairs):
        if value < 0 and expected[i] < 0 and j not in expected:
            expected[i] = j
    assert best_pairs(overlaps).tolist() == expected
