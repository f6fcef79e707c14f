"""Ranks within groups, and one target for each prediction."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.assigners import Assignment
from detector.assigners.assignment import one_target_each, rank_within
from tests.assigners.conftest import GRID


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


def test_one_target_a_prediction() -> None:
    """Prediction 5 of image 0 has three targets; prediction 5 of image 1 is another one."""
    pairs = Assignment(
        torch.tensor([0, 0, 0, 1]), torch.tensor([5, 5, 5, 5]), torch.tensor([0, 1, 2, 3])
    )
    kept = one_target_each(pairs, torch.tensor([2.0, 1.0, 1.0, 9.0]), GRID)
    assert kept.target.tolist() == [1, 3]
