"""Tracker of one video: the boxes of consecutive frames get ids.

The algorithms are those of the library ``trackers``, extra ``track``: ByteTrack (arXiv 2110.06864),
OC-SORT (arXiv 2203.14360) and BoT-SORT (arXiv 2206.14651), the last with the camera's motion and
without the appearance of objects. They match boxes by motion and overlap, whatever their classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.nms import NmsSettings
from detector.settings.track import TrackerName
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image
from detector.utils.system import require

EXTRA = "track"
"""Extra of this distribution that brings the library."""

LOST_SECONDS = 1.0
"""Time after which a track ends whose object is not seen."""

LOST_FRAMES = 5
"""Number of frames that a track lasts at least, where a second has fewer."""

LIBRARY_FPS = 30
"""Frames per second in which the library counts the time that a track lasts."""


class _Algorithm(NamedTuple):
    """An algorithm of the library.

    Attributes:
        class_name: of its class in the library.
        thresholds: its parameters that are the score from which a box begins a track.
        low: lowest score of the boxes that it gets to continue tracks; None if such boxes have no
            part in it.
        uses_image: whether it estimates the camera's motion from the frames.
    """

    class_name: str
    thresholds: tuple[str, ...]
    low: float | None
    uses_image: bool = False


_BOTH = ("track_activation_threshold", "high_conf_det_threshold")

ALGORITHMS: dict[TrackerName, _Algorithm] = {
    "bytetrack": _Algorithm("ByteTrackTracker", _BOTH, 0.1),
    "ocsort": _Algorithm("OCSORTTracker", ("high_conf_det_threshold",), None),
    "botsort": _Algorithm("BoTSORTTracker", _BOTH, 0.1, uses_image=True),
}


class Tracker:
    """Tracker of the objects in one video.

    Args:
        name: of the algorithm.
        confidence: lowest score of a box that begins a track.
        fps: frames per second of the video.

    Raises:
        DetectorError: the library is not installed.
    """

    def __init__(self, name: TrackerName, confidence: float, fps: float) -> None:
        self._algorithm = ALGORITHMS[name]
        # Its modules import supervision, which needs a second: only runs that track pay for it.
        make: Callable[..., Any] = getattr(require("trackers", EXTRA), self._algorithm.class_name)
        thresholds = dict.fromkeys(self._algorithm.thresholds, confidence)
        lost = math.ceil(LIBRARY_FPS * max(LOST_SECONDS, LOST_FRAMES / fps))
        self._tracker = make(frame_rate=fps, lost_track_buffer=lost, **thresholds)
        self._boxes: Callable[..., Any] = require("supervision", EXTRA).Detections

    def update(self, detections: Detections, image_rgb: Image, seconds: float) -> Detections:
        """Return the boxes that belong to tracks, with ids from 1, best score first.

        Args:
            detections: boxes of the next frame.
            image_rgb: the frame, (h, w, 3) uint8.
            seconds: time of the frame, later than that of the one before; frames may be left
                out, and objects move on in between.

        Raises:
            DetectorError: a box is not finite.
        """
        if not np.isfinite(detections.boxes_xyxy).all():
            raise DetectorError(f"frame at {seconds:.3f} s: a box is not a finite number")
        theirs = self._boxes(
            xyxy=detections.boxes_xyxy.astype(np.float64),
            confidence=detections.scores.copy(),
            data={"row": np.arange(len(detections))},
        )
        bgr = np.ascontiguousarray(image_rgb[..., ::-1]) if self._algorithm.uses_image else None
        found = self._tracker.update(theirs, bgr, timestamp=seconds)
        if not len(found):
            return replace(detections[:0], track_ids=np.zeros(0, np.int64))
        rows, ids = found.data["row"], found.tracker_id  # id -1: a box of no track
        order = np.argsort(rows)
        order = order[ids[order] >= 0]
        return replace(detections[rows[order]], track_ids=ids[order].astype(np.int64) + 1)

    def living(self) -> set[int]:
        """Return the ids of all tracks that may be seen again, in this frame or not."""
        return {track.tracker_id + 1 for track in self._tracker.tracks}


def check_tracking(backend: Backend, name: TrackerName) -> None:
    """Raise DetectorError unless the boxes of a network can be followed by an algorithm.

    Raises:
        DetectorError: it classifies, its file holds an NMS that drops what continues tracks, or
            the library is not installed.
    """
    if backend.task == "classify":
        raise DetectorError(f"a classifier has no boxes, found track {name}")
    if isinstance(backend, ExportedBackend) and backend.metadata.nms is not None:
        raise backend.error(
            f"holds its NMS, whose confidence is fixed, found track {name}; export it without --nms"
        )
    require("trackers", EXTRA)


def nms_for_tracking(name: TrackerName, settings: NmsSettings) -> NmsSettings:
    """Return NMS settings that keep the boxes with low scores that continue tracks."""
    low = ALGORITHMS[name].low
    if low is None or low >= settings.confidence:
        return settings
    return settings.model_copy(update={"confidence": low})
