"""Centres of cells, level after level."""

from __future__ import annotations

import pytest
import torch

from detector.structures.points import Points, cell_centres, grid_xy


def test_grid_is_x_then_y() -> None:
    grid = grid_xy(2, 3, torch.zeros(0))
    assert grid.tolist() == [[[0, 0], [1, 0], [2, 0]], [[0, 1], [1, 1], [2, 1]]]


def test_no_level_has_no_cells() -> None:
    centres, strides = cell_centres([8], [(0, 3)], torch.zeros(0))
    assert centres.shape == (0, 2) and strides.shape == (0,)


def test_centres_by_hand() -> None:
    # Stride 8: one row of two cells; stride 16: two rows of one cell.
    centres, strides = cell_centres([8, 16], [(1, 2), (2, 1)], torch.zeros(0, dtype=torch.float64))
    assert centres.tolist() == [[4, 4], [12, 4], [8, 8], [8, 24]]
    assert strides.tolist() == [8, 8, 16, 16]
    assert centres.dtype == strides.dtype == torch.float64
    assert len(Points(centres, strides)) == 4
    assert len(Points(centres, strides, per_point=3)) == 12


@pytest.mark.parametrize(
    ("xy", "strides", "found"),
    [
        ((3, 2), (2,), r"\(3, 2\), \(2,\)"),
        ((3, 4), (3,), r"\(3, 4\), \(3,\)"),
        ((3, 2), (3, 1), r"\(3, 2\), \(3, 1\)"),
    ],
)
def test_refused(xy: tuple[int, ...], strides: tuple[int, ...], found: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^expected points \(p, 2\) and strides \(p,\); found {found}$"
    ):
        Points(torch.zeros(xy), torch.zeros(strides))
