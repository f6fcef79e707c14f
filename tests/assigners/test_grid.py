"""Places of an anchor-based head's predictions."""

from __future__ import annotations

import torch

from tests.assigners.conftest import GRID, STRIDES, all_places


def test_places_by_counting() -> None:
    assert len(GRID) == 2 * (8 * 10 + 4 * 5) == len(all_places())
    assert GRID.counts == [160, 40]
    found = GRID.locate(torch.arange(len(GRID)))
    assert list(zip(*(part.tolist() for part in found), strict=True)) == all_places()
    assert torch.equal(GRID.index(*found), torch.arange(len(GRID)))


def test_every_point_carries_all_anchors() -> None:
    assert GRID.per_point == 2
    for prediction, (level, y, x, _) in enumerate(all_places()):
        point = prediction // GRID.per_point
        stride = STRIDES[level]
        assert GRID.xy[point].tolist() == [(x + 0.5) * stride, (y + 0.5) * stride]
        assert GRID.strides[point] == stride
