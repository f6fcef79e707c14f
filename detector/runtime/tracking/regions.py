"""Lines and zones of a frame over which tracked objects are counted, as they are typed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.utils.errors import DetectorError, shown

LINE, ZONE = "line", "zone"

EXPECTED = "expected line:x1,y1,x2,y2 or zone:x1,y1,x2,y2,x3,y3,..."

MAX_CORNERS = 1000
"""Largest number of corners of a zone."""

MAX_COORDINATE = 1_000_000
"""Largest coordinate, pixels; no frame is that wide."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """Line from one point to another, or zone with corners.

    Attributes:
        text: as it was typed.
        points_xy: ends of the line, or corners of the zone; pixels.
    """

    text: str
    points_xy: tuple[tuple[float, float], ...]

    @classmethod
    def parse(cls, text: str) -> Region:
        """Return the region of ``line:x1,y1,x2,y2`` or ``zone:x1,y1,x2,y2,x3,y3,…``.

        Raises:
            DetectorError: not such a text, a line without length, or a zone without area.
        """
        kind, _, values = text.partition(":")
        numbers = _numbers(values)
        count = len(numbers)
        right = count == 4 if kind == LINE else 6 <= count <= 2 * MAX_CORNERS and not count % 2
        if kind not in (LINE, ZONE) or not right:
            raise DetectorError(f"count: {EXPECTED}, found {shown(text)}")
        region = cls(text, tuple(zip(numbers[::2], numbers[1::2], strict=True)))
        if not region.size():
            what = "line without length" if kind == LINE else "zone without area"
            raise DetectorError(f"count: a {what}, found {shown(text)}")
        return region

    @property
    def is_zone(self) -> bool:
        """Whether it is a zone."""
        return self.text.startswith(ZONE)

    def size(self) -> float:
        """Return the length of a line, pixels, or the area within a zone's corners."""
        points = np.array(self.points_xy)
        if not self.is_zone:
            return math.dist(*self.points_xy)
        return abs(float(_cross(points, np.roll(points, -1, 0)).sum())) / 2

    def check_frame(self, size_hw: tuple[int, int]) -> None:
        """Raise DetectorError if no part of it can lie in frames of a size."""
        points = np.array(self.points_xy)
        height, width = size_hw
        if np.any(points.max(0) < 0) or np.any(points.min(0) > (width, height)):
            raise DetectorError(f"count: {self.text} lies outside of frames of {width}×{height}")

    def edges(self) -> tuple[Points, Points]:
        """Return the starts and ends of its edges, (k, 2) each."""
        points = np.array(self.points_xy)
        if self.is_zone:
            return points, np.roll(points, -1, 0)
        return points[:1], points[1:]

    def middle(self) -> Points:
        """Return the middle of a line, or of a zone's corners, (2,)."""
        middle: Points = np.array(self.points_xy).mean(0)
        return middle

    def inwards(self, length: float) -> Points:
        """Return an arrow from a quarter of a line to its inner side, (2, 2)."""
        start, end = np.array(self.points_xy)
        along_x, along_y = (end - start) / math.dist(start, end)
        arrow: Points = start + (end - start) / 4 + [[0, 0], [along_y * length, -along_x * length]]
        return arrow

    def contains(self, points_xy: Points) -> NDArray[np.bool_]:
        """Return which points, (n, 2), are within the zone, or on the inner side of the line.

        That side of a line is the left one, seen in the image from its first point to its second.
        Where a zone's edges cross each other, it is inside as often as even-odd filling says.
        """
        starts, ends = self.edges()
        x, y = points_xy[:, :1], points_xy[:, 1:]
        if not self.is_zone:
            # y points down: the product is negative on the left.
            return _cross(ends[0] - starts[0], points_xy - starts[0]) < 0
        spans = (starts[:, 1] > y) != (ends[:, 1] > y)
        with np.errstate(divide="ignore", invalid="ignore"):  # level edges span no point
            slopes = (ends[:, 0] - starts[:, 0]) / (ends[:, 1] - starts[:, 1])
            left_of_edge = x < starts[:, 0] + (y - starts[:, 1]) * slopes
        odd: NDArray[np.bool_] = (spans & left_of_edge).sum(1) % 2 == 1
        return odd

    def distances(self, points_xy: Points) -> NDArray[np.float64]:
        """Return the distance of each point, (n, 2), from the nearest edge, pixels."""
        starts, ends = self.edges()
        along = ends - starts
        offsets = points_xy[:, None] - starts
        lengths = np.maximum((along**2).sum(1), np.finfo(np.float64).tiny)
        share = np.clip((offsets * along).sum(2) / lengths, 0, 1)
        to_edges = np.linalg.norm(offsets - share[..., None] * along, axis=2)
        nearest: NDArray[np.float64] = to_edges.min(1)
        return nearest

    def is_crossed(self, before_xy: Points, after_xy: Points) -> bool:
        """Return whether a change of side, from one point to another, is a crossing.

        For a line, the way must meet it, not what would prolong it; a zone has no gap.
        """
        if self.is_zone:
            return True
        move, ends = after_xy - before_xy, np.array(self.points_xy)
        first, second = _cross(move, ends - before_xy)
        return bool(first * second <= 0)


def _numbers(values: str) -> list[float]:
    """Return coordinates separated by commas; an empty list if one is none."""
    try:
        numbers = [float(value) for value in values.split(",")]
    except ValueError:
        return []
    return numbers if all(abs(number) <= MAX_COORDINATE for number in numbers) else []


def _cross(a: Points, b: Points) -> NDArray[np.float64]:
    """Return the cross product of vectors in the plane, (…, 2)."""
    product: NDArray[np.float64] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product
