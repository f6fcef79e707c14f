"""Places of predictions, and ranks within groups."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.assigners import Assignment
from detector.assigners.grid import least_of_each_prediction, rank_within
from detector.heads.anchors import decode_grid
from tests.assigners.conftest import ANCHORS_WH, GRID, SIZES_HW, STRIDES, all_places


def test_places_by_counting() -> None:
    assert len(GRID) == 2 * (8 * 10 + 4 * 5) == len(all_places())
    assert GRID.counts == [160, 40]
    found = GRID.locate(torch.arange(len(GRID)))
    assert list(zip(*(part.tolist() for part in found), strict=True)) == all_places()
    assert torch.equal(GRID.index(*found), torch.arange(len(GRID)))


def test_decoding_is_that_of_the_head() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes, raws = [], []
    for anchors_wh, stride, (height, width) in zip(ANCHORS_WH, STRIDES, SIZES_HW, strict=True):
        raw = torch.randn(1, 2, height, width, 4, generator=generator).double()
        decoded = decode_grid(raw, anchors_wh, stride)
        for values, parts in ((raw, raws), (decoded, boxes)):
            parts.append(values.permute(0, 2, 3, 1, 4).reshape(-1, 4))
    found = GRID.decode(torch.cat(raws), torch.arange(len(GRID)))
    torch.testing.assert_close(found, torch.cat(boxes))


def test_ranks_by_hand() -> None:
    values, groups = torch.tensor([5.0, 1, 3, 1, 9]), torch.tensor([7, 7, 2, 7, 2])
    assert rank_within(values, groups).tolist() == [2, 0, 0, 1, 1]
    assert rank_within(torch.zeros(0), torch.zeros(0, dtype=torch.int64)).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4))))
def test_ranks_are_those_of_a_loop(pairs: list[tuple[int, int]]) -> None:
    expected = [
        sum(g == group and (v, j) < (value, i) for j, (v, g) in enumerate(pairs))
        for i, (value, group) in enumerate(pairs)
    ]
    table = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    assert rank_within(table[:, 0].float(), table[:, 1]).tolist() == expected


def test_one_truth_a_prediction() -> None:
    """Prediction 5 of image 0 has three truths; prediction 5 of image 1 is another one."""
    pairs = Assignment(
        torch.tensor([0, 0, 0, 1]), torch.tensor([5, 5, 5, 5]), torch.tensor([0, 1, 2, 3])
    )
    kept = least_of_each_prediction(pairs, torch.tensor([2.0, 1.0, 1.0, 9.0]), GRID)
    assert kept.target.tolist() == [1, 3]
