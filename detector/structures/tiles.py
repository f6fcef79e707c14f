"""Tiles: the windows that cover a large image, and boxes seen through a window.

A window is x1, y1, x2, y2 in whole pixels of the image, end exclusive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.structures.boxes_numpy import area
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image

MAX_WINDOWS = 10_000
"""Largest number of tiles of one image: more would take hours on a CPU."""

Window = tuple[int, int, int, int]
"""Part of an image: x1, y1, x2, y2, whole pixels, end exclusive."""

Boxes = NDArray[np.float32]


def whole_window(size_hw: tuple[int, int]) -> Window:
    """Return the window that is the whole image."""
    height, width = size_hw
    return 0, 0, width, height


def tile_windows(size_hw: tuple[int, int], tile: int, overlap: float) -> list[Window]:
    """Return windows that cover an image, row by row, evenly spread.

    All have the same size: the tile's, or the image's where that is smaller. As few are taken as
    have the overlap; the first and last ones touch the borders of the image.

    Args:
        size_hw: height and width of the image, pixels.
        tile: side of a tile, pixels.
        overlap: least share of the tile's side that neighbours have in common.

    Raises:
        DetectorError: there would be more than ``MAX_WINDOWS``.

    >>> tile_windows((100, 250), 100, 0.2)
    [(0, 0, 100, 100), (75, 0, 175, 100), (150, 0, 250, 100)]
    """
    (height, width), common = size_hw, round(tile * overlap)
    rows, columns = (_count(side, tile, common) for side in size_hw)
    if rows * columns > MAX_WINDOWS:
        raise DetectorError(
            f"{rows * columns} tiles of {tile} px with an overlap of {common} px cover an image of "
            f"{height}×{width} px, at most {MAX_WINDOWS} are made; choose larger tiles"
        )
    return [
        (left, top, min(left + tile, width), min(top + tile, height))
        for top in _starts(height, tile, rows)
        for left in _starts(width, tile, columns)
    ]


def _count(side: int, tile: int, common: int) -> int:
    """Return how many tiles cover a side of the image, neighbours with ``common`` pixels."""
    return max(-(-(side - common) // (tile - common)), 1)


def _starts(side: int, tile: int, count: int) -> list[int]:
    """Return the first pixels of tiles that are spread evenly over a side."""
    last = max(side - tile, 0)
    return [round(index * last / max(count - 1, 1)) for index in range(count)]


def cut_out(image_rgb: Image, window_xyxy: Window | None) -> Image:
    """Return a copy of a window of an image, which does not keep the rest in memory.

    None stands for the whole image, which is returned itself.
    """
    if window_xyxy is None:
        return image_rgb
    x1, y1, x2, y2 = window_xyxy
    part: Image = image_rgb[y1:y2, x1:x2].copy()
    return part


def to_image(boxes_xyxy: Boxes, window_xyxy: Window) -> Boxes:
    """Move (n, 4) boxes from pixels of a window to pixels of its image."""
    return boxes_xyxy + np.array(window_xyxy[:2] * 2, np.float32)


def to_window(boxes_xyxy: Boxes, window_xyxy: Window) -> tuple[Boxes, NDArray[np.float64]]:
    """Cut (n, 4) boxes of an image off at a window's borders.

    Returns:
        The boxes in pixels of the window, (n, 4), and the share of each one's area that the window
        shows, (n,) in 0..1, exactly 1 for one inside. A box outside has no area left.

    >>> boxes, visible = to_window(np.float32([[90, 0, 130, 10], [0, 0, 9, 9]]), (100, 0, 200, 50))
    >>> boxes[0].tolist(), visible.tolist()
    ([0.0, 0.0, 30.0, 10.0], [0.75, 0.0])
    """
    x1, y1, x2, y2 = window_xyxy
    exact = boxes_xyxy.astype(np.float64)  # float32 would round a box that it moves
    clipped = np.clip(exact - np.array([x1, y1] * 2), 0, np.array([x2 - x1, y2 - y1] * 2))
    whole = area(exact)
    visible = np.divide(area(clipped), whole, out=np.zeros_like(whole), where=whole > 0)
    return clipped.astype(np.float32), visible


def touches_inner_border(
    boxes_xyxy: Boxes, window_xyxy: Window, size_hw: tuple[int, int], within: float
) -> NDArray[np.bool_]:
    """Return which boxes end at a border of their window beyond which the image goes on.

    Args:
        boxes_xyxy: (n, 4) pixels of the image.
        window_xyxy: their window.
        size_hw: height and width of the image, pixels.
        within: largest distance from the border, as a share of the box's own side.

    >>> boxes = np.float32([[60, 20, 99, 40], [60, 20, 90, 40], [0, 0, 9, 9]])
    >>> touches_inner_border(boxes, (0, 0, 100, 100), (100, 200), 0.1).tolist()
    [True, False, False]
    """
    borders = np.array(window_xyxy, np.float32)
    ends_with_image = np.array(window_xyxy) == np.array([0, 0, size_hw[1], size_hw[0]])
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    near = np.abs(boxes_xyxy - borders) <= within * np.tile(sides, 2)
    touching: NDArray[np.bool_] = (near & ~ends_with_image).any(1)
    return touching
