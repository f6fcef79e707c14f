"""Windows that cover an image, and boxes seen through one; numbers by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.structures.tiles import (
    MAX_WINDOWS,
    tile_windows,
    to_image,
    to_window,
    touches_inner_border,
    whole_window,
)
from detector.utils.errors import DetectorError


def starts(side: int, tile: int, overlap: float) -> list[int]:
    return [window[0] for window in tile_windows((tile, side), tile, overlap)]


@pytest.mark.parametrize(
    ("side", "tile", "overlap", "expected"),
    [
        (1, 64, 0.2, [0]),
        (64, 64, 0.2, [0]),
        (65, 64, 0.2, [0, 1]),  # the second is moved back, not one pixel wide
        # 0.25 · 64 = 16 px are shared, so that a tile adds 48: 64 + 48 = 112 is the longest side of
        # two tiles, 64 + 2 · 48 = 160 that of three.
        (112, 64, 0.25, [0, 48]),
        (113, 64, 0.25, [0, 24, 49]),  # 49 pixels are left, 24.5 for each: rounded to even
        (160, 64, 0.25, [0, 48, 96]),
        (128, 64, 0, [0, 64]),
        # 2000 px in tiles of 640 with 128 px: (2000 - 128) / 512 = 3.66, four tiles, 1360 / 3 apart
        (2000, 640, 0.2, [0, 453, 907, 1360]),
    ],
)
def test_windows_of_a_row(side, tile, overlap, expected):
    assert starts(side, tile, overlap) == expected


def test_windows_come_row_by_row():
    assert tile_windows((70, 100), 60, 0.1) == [
        (0, 0, 60, 60),
        (40, 0, 100, 60),
        (0, 10, 60, 70),
        (40, 10, 100, 70),
    ]


def test_a_side_shorter_than_a_tile():
    assert tile_windows((20, 100), 60, 0.1) == [(0, 0, 60, 20), (40, 0, 100, 20)]
    assert tile_windows((20, 30), 60, 0.1) == [whole_window((20, 30))] == [(0, 0, 30, 20)]


@given(  # at most ((700 − 57) / 7 + 1)² windows, which is allowed
    st.integers(1, 700), st.integers(1, 700), st.integers(64, 300), st.floats(0, 0.89)
)  # fmt: skip
def test_windows_cover_the_image(height, width, tile, overlap):
    windows = tile_windows((height, width), tile, overlap)
    common = round(tile * overlap)
    for side, first, last in ((width, 0, 2), (height, 1, 3)):
        spans = sorted({(window[first], window[last]) for window in windows})
        assert spans[0][0] == 0
        assert spans[-1][1] == side
        assert {stop - start for start, stop in spans} == {min(side, tile)}
        assert all(a[1] - b[0] >= common for a, b in pairwise(spans))
        # One fewer, at the smallest overlap, would leave pixels out.
        assert len(spans) == 1 or tile + (len(spans) - 2) * (tile - common) < side
    assert len(windows) == len(set(windows))


def test_too_many_windows():
    with pytest.raises(DetectorError) as caught:
        tile_windows((8000, 8000), 32, 0.5)  # (8000 - 16) / 16 = 499 in a row
    assert str(caught.value) == (
        "249001 tiles of 32 px with an overlap of 16 px cover an image of 8000×8000 px, at most "
        "10000 are made; choose larger tiles"
    )
    assert len(tile_windows((3200, 3200), 32, 0)) == MAX_WINDOWS


def test_no_boxes():
    none = np.zeros((0, 4), np.float32)
    boxes, visible = to_window(none, (0, 0, 10, 10))
    assert boxes.shape == (0, 4)
    assert visible.shape == (0,)
    assert to_image(none, (5, 5, 9, 9)).shape == (0, 4)
    assert touches_inner_border(none, (0, 0, 9, 9), (20, 20), 0.1).shape == (0,)


def test_boxes_through_a_window():
    boxes = np.array(
        [[110, 60, 130, 80], [90, 40, 130, 60], [250, 10, 280, 90], [0, 0, 50, 50]], np.float32
    )
    inside, visible = to_window(boxes, (100, 50, 260, 90))
    # 20×20 whole; of 40×20 remain 30×10 = 3/8; of 30×80 remain 10×40 = 1/6; nothing of the last
    assert inside.tolist() == [[10, 10, 30, 30], [0, 0, 30, 10], [150, 0, 160, 40], [0, 0, 0, 0]]
    assert visible == pytest.approx([1, 0.375, 1 / 6, 0])
    assert to_image(inside[:1], (100, 50, 260, 90)).tolist() == boxes[:1].tolist()
    assert inside.dtype == np.float32


def test_a_box_inside_is_wholly_visible(rng):
    """Whatever its fractions of a pixel, which float32 rounds when the box is moved."""
    corners = rng.uniform(101, 200, (1000, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(0.01, 40, (1000, 2))), 1)
    _, visible = to_window(boxes.astype(np.float32), (100, 100, 300, 300))
    assert (visible == 1).all()


def test_inner_borders():
    window, size_hw = (100, 0, 200, 100), (100, 300)  # the image goes on to the left and right
    boxes = np.array(
        [
            [100, 20, 120, 30],  # at the left border
            [102, 20, 122, 30],  # 2 px away, a tenth of its width of 20
            [103, 20, 123, 30],  # 3 px away
            [150, 0, 170, 100],  # from the top to the bottom of the image
            [180, 20, 200, 30],  # at the right border
        ],
        np.float32,
    )
    assert touches_inner_border(boxes, window, size_hw, 0.1).tolist() == [
        True, True, False, False, True
    ]  # fmt: skip
    assert not touches_inner_border(boxes, whole_window(size_hw), size_hw, 0.1).any()
