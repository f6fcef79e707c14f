"""The table of sensitivities and the search for the fewest rows in float."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest

from detector.export.quantize.sensitivity import (
    RowLoss,
    fewest,
    relative_error,
    sensitivities,
)


class Sum:
    """A network whose output is the images' sum plus what each quantised row adds."""

    rows = (0, 2, 5)
    adds = {0: 1.0, 2: 4.0, 5: 2.0}

    def run(self, in_float: Collection[int], batches: Sequence[Any]) -> list[Any]:
        change = sum(self.adds[row] for row in self.rows if row not in in_float)
        return [(batch + np.float32(change),) for batch in batches]


def test_each_row_alone():
    """Outputs of 10, changed by 1, 4 and 2: 0.1, 0.4, 0.2; the worst first."""
    batches = [np.full((1, 3, 2, 2), 10, np.float32)] * 2
    found = sensitivities(Sum(), batches)  # type: ignore[arg-type]  # save is not used
    assert [loss.row for loss in found] == [2, 5, 0]
    assert [loss.error for loss in found] == pytest.approx([0.4, 0.2, 0.1])
    assert isinstance(found[0], RowLoss)


def test_outputs_count_alike():
    """Boxes of 100 changed by 50, scores of 0.1 not changed: (0.5 + 0) / 2."""
    exact = (np.full(4, 100.0), np.full(4, 0.1))
    found = (np.full(4, 150.0), np.full(4, 0.1))
    assert relative_error([exact], [found]) == pytest.approx(0.25)
    assert relative_error([(np.zeros(2),)], [(np.ones(2),)]) == 0  # nothing to be relative to


@pytest.mark.parametrize("needed", range(1, 7))
def test_the_fewest(needed: int):
    ranked = list(range(12, 0, -1))
    tried: list[int] = []

    def passes(rows: Sequence[int]) -> bool:
        tried.append(len(rows))
        return len(rows) >= needed

    assert fewest(ranked, passes) == ranked[:needed]
    assert len(tried) <= 5
    assert len(set(tried)) == len(tried)


def test_half_of_the_rows_at_most():
    """Of 12 rows 6 may stay in float: 1, 2, 4 and 6 are tried."""
    tried: list[int] = []

    def passes(rows: Sequence[int]) -> bool:
        tried.append(len(rows))
        return False

    assert fewest(list(range(12)), passes) is None
    assert tried == [1, 2, 4, 6]
    assert fewest([], passes) is None
    assert fewest([3], passes) is None
