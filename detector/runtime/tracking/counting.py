"""Counts of tracked objects that cross a line, or enter and leave a zone.

An object is where the centre of its box is. It has changed sides once its centre is farther from
the edge than :data:`MARGIN`, so that a box that trembles on a line is not counted again and again.
What was not seen for some frames and comes back with its id has crossed what lies between. The
counters of the library ``supervision`` forget an object that two frames do not show, hence these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from detector.runtime.tracking.regions import Points, Region
from detector.runtime.tracking.trails import centres
from detector.structures.detections import Detections

MARGIN = 0.1
"""Distance of a centre from an edge that decides its side, as a share of the box's shorter side."""


class RegionCount(NamedTuple):
    """Objects that a region has counted up to a frame.

    Attributes:
        region: the line or zone.
        entered: number of objects that went in, by class name.
        left: number of objects that went out.
    """

    region: Region
    entered: Mapping[str, int]
    left: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "region": self.region.text,
            "in": dict(self.entered),
            "out": dict(self.left),
        }

    def describe(self) -> str:
        """Return the counts in words."""
        return f"{self.region.text}: in {_in_words(self.entered)}, out {_in_words(self.left)}"


class RegionCounter:
    """Counter of one region in videos, one after the other.

    Args:
        region: the line or zone.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        self._earlier = Counter[str](), Counter[str]()
        self._entered, self._left = Counter[str](), Counter[str]()
        self._sides: dict[int, tuple[bool, Points]] = {}

    def begin_video(self) -> None:
        """Begin to count from zero; totals keep what was counted before."""
        self._earlier = self._earlier[0] + self._entered, self._earlier[1] + self._left
        self._entered, self._left = Counter(), Counter()
        self._sides = {}

    def totals(self) -> RegionCount:
        """Return the counts of all videos."""
        entered, left = self._earlier
        return RegionCount(self.region, entered + self._entered, left + self._left)

    def update(self, detections: Detections, living: set[int]) -> RegionCount:
        """Count the changes of a frame, forget tracks that have ended; return all counts so far.

        Args:
            detections: boxes with ids.
            living: ids of the tracks that have not ended.
        """
        for ended in self._sides.keys() - living:
            del self._sides[ended]
        assert detections.track_ids is not None
        points = centres(detections).astype(np.float64)
        sides = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
        decided = self.region.distances(points) > MARGIN * sides.min(1)
        inside = self.region.contains(points)
        for row in np.flatnonzero(decided).tolist():
            track_id = int(detections.track_ids[row])
            before = self._sides.get(track_id)
            self._sides[track_id] = bool(inside[row]), points[row].copy()
            if before is None or before[0] == inside[row]:
                continue
            if self.region.is_crossed(before[1], points[row]):
                name = detections.names[detections.class_ids[row]]
                (self._entered if inside[row] else self._left)[name] += 1
        return RegionCount(self.region, dict(self._entered), dict(self._left))


def _in_words(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "0"
    by_class = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{total} ({', '.join(f'{count} {name}' for name, count in by_class)})"
