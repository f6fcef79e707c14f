"""Counts of tracked objects that cross a line, or enter and leave a zone.

An object is where the centre of its box is. It has changed sides once its centre is farther from
the edge than :data:`MARGIN`, so that a box that trembles on a line is not counted again and again.
What was not seen for some frames and comes back with its id has crossed what lies between. The
counters of the library ``supervision`` forget an object that two frames do not show, hence these.
"""

from __future__ import annotations

from collections import Counter
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
    entered: Counter[str]
    left: Counter[str]

    @classmethod
    def none(cls, region: Region) -> RegionCount:
        """Return the count of a region before the first frame."""
        return cls(region, Counter(), Counter())

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
    """Counter of one region in one video.

    Args:
        total: counts of the region in all videos, to which this counter adds.
    """

    def __init__(self, total: RegionCount) -> None:
        self.region = total.region
        self._total = total
        self._entered, self._left = Counter[str](), Counter[str]()
        self._sides: dict[int, tuple[bool, Points]] = {}

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
                self._count(detections.names[detections.class_ids[row]], bool(inside[row]))
        return RegionCount(self.region, Counter(self._entered), Counter(self._left))

    def _count(self, name: str, inside: bool) -> None:
        """Count an object of a class that is inside now, or outside."""
        for counts in (
            (self._entered, self._total.entered) if inside else (self._left, self._total.left)
        ):
            counts[name] += 1


def _in_words(counts: Counter[str]) -> str:
    total = sum(counts.values())
    if not total:
        return "0"
    by_class = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{total} ({', '.join(f'{count} {name}' for name, count in by_class)})"
