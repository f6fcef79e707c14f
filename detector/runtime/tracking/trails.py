"""Trails: where the centres of tracked objects have been in the last frames."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.structures.detections import Detections


class Trail(NamedTuple):
    """Trail of one track.

    Attributes:
        track_id: its id.
        points_xy: (k, 2) float32, pixels; the newest one last.
    """

    track_id: int
    points_xy: NDArray[np.float32]


class Trails:
    """Trails of the tracks of one video.

    Args:
        length: largest number of points of a trail; 0 for none.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._points: dict[int, deque[NDArray[np.float32]]] = {}

    def update(self, detections: Detections, living: set[int]) -> tuple[Trail, ...]:
        """Add the boxes of a frame, forget tracks that have ended; return the trails of the boxes.

        Args:
            detections: boxes with ids.
            living: ids of the tracks that have not ended.
        """
        if not self._length:
            return ()
        for ended in self._points.keys() - living:
            del self._points[ended]
        assert detections.track_ids is not None
        ids = detections.track_ids.tolist()
        for track_id, centre in zip(ids, centres(detections), strict=True):
            self._points.setdefault(track_id, deque(maxlen=self._length)).append(centre)
        return tuple(Trail(track_id, np.array(self._points[track_id])) for track_id in ids)


def centres(detections: Detections) -> NDArray[np.float32]:
    """Return the centres of boxes, (n, 2), pixels."""
    both: NDArray[np.float32] = detections.boxes_xyxy[:, :2] + detections.boxes_xyxy[:, 2:]
    both /= 2
    return both
