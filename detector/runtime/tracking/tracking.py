"""Tracking of the results of a pipeline: each video of a source by a tracker of its own."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.runtime.tracking.counting import RegionCount, RegionCounter
from detector.runtime.tracking.drawing import draw_tracks
from detector.runtime.tracking.regions import Region
from detector.runtime.tracking.tracker import Tracker
from detector.runtime.tracking.trails import Trail, Trails
from detector.settings.track import TrackerName
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image

MAX_VIDEOS = 256
"""Largest number of videos that may go on at a time; of more, the one not seen for longest ends."""


@dataclass(frozen=True)
class TrackedResult(Result):
    """One frame of a video with the boxes of tracks, which have ids.

    Attributes:
        trails: of the boxes.
        counts: of each region, from the first frame of the video to this one.
    """

    trails: tuple[Trail, ...] = ()
    counts: tuple[RegionCount, ...] = ()

    def draw(self) -> Image:
        """Return a copy of the frame with boxes, trails and counts, (h, w, 3) uint8."""
        return draw_tracks(self.image_rgb, self.detections, self.trails, self.counts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values of the prediction and the counts."""
        counts = [count.to_dict() for count in self.counts]
        return {**super().to_dict(), **({"counts": counts} if counts else {})}


class Tracking:
    """Tracking of objects in the videos of a source, one after the other or several at once.

    Ids begin at 1 in each video, and an id is not given twice in one. A video is known by its path
    and name, and begins anew where a frame's number does not follow.

    Args:
        name: of the algorithm.
        confidence: lowest score of a box that begins a track.
        trail: largest number of points of a trail.
        regions: lines and zones over which objects are counted.

    Attributes:
        tracks: number of tracks so far, by the name of the class that the first box of each has.
        totals: counts of each region over all videos so far.
        videos: number of videos so far.
    """

    def __init__(
        self,
        name: TrackerName,
        confidence: float,
        trail: int = 0,
        regions: Sequence[Region] = (),
    ) -> None:
        self._name, self._confidence, self._trail = name, confidence, trail
        self._videos: OrderedDict[tuple[Path | None, str], _Video] = OrderedDict()
        self.tracks: Counter[str] = Counter()
        self.totals = tuple(RegionCount.none(region) for region in regions)
        self.videos = 0

    def __call__(self, results: Iterable[Result]) -> Iterator[TrackedResult]:
        """Yield the result of each frame with those of its boxes that belong to tracks.

        Raises:
            DetectorError: a result is of an image, not of a video, or a region lies outside of the
                frames.
        """
        for result in results:
            video = self._video_of(result.frame)
            tracked = video.update(result)
            self.tracks.update(video.new_tracks(tracked.detections))
            yield tracked

    def _video_of(self, frame: Frame) -> _Video:
        """Return the video that a frame continues, or a new one."""
        key = frame.path, frame.name
        video = self._videos.get(key)
        if video is None or frame.index <= video.index:
            video = self._videos[key] = self._begin(frame)
        self._videos.move_to_end(key)
        if len(self._videos) > MAX_VIDEOS:
            self._videos.popitem(last=False)
        return video

    def _begin(self, frame: Frame) -> _Video:
        if frame.fps is None:
            raise DetectorError(
                "is an image, expected a video: objects are followed from frame to frame; "
                "fps says that the images of a source are the frames of one video",
                file=frame.path or frame.name,
            )
        for total in self.totals:
            total.region.check_frame((frame.image_rgb.shape[0], frame.image_rgb.shape[1]))
        self.videos += 1
        tracker = Tracker(self._name, self._confidence, frame.fps)
        return _Video(tracker, Trails(self._trail), [RegionCounter(one) for one in self.totals])


class _Video:
    """State of one video that is being tracked.

    Attributes:
        index: number of the latest frame.
    """

    def __init__(self, tracker: Tracker, trails: Trails, counters: Sequence[RegionCounter]) -> None:
        self.index = -1
        self._seconds = -math.inf
        self._tracker, self._trails, self._counters = tracker, trails, counters
        self._last_id = 0

    def update(self, result: Result) -> TrackedResult:
        """Return the result of the next frame with ids."""
        frame = result.frame
        self.index = frame.index
        self._seconds = self._time_of(frame)
        detections = self._tracker.update(result.detections, frame.image_rgb, self._seconds)
        living = self._tracker.living()
        trails = self._trails.update(detections, living)
        counts = tuple(counter.update(detections, living) for counter in self._counters)
        return TrackedResult(frame, detections, trails, counts)

    def _time_of(self, frame: Frame) -> float:
        """Return when a frame was taken, in seconds, or one frame after the last.

        The frame's own time knows of a stride and of dropped frames; some files' times do not rise.
        """
        assert frame.fps is not None
        seconds = frame.index / frame.fps if frame.seconds is None else frame.seconds
        return seconds if seconds > self._seconds else self._seconds + 1 / frame.fps

    def new_tracks(self, detections: Detections) -> list[str]:
        """Return the class names of boxes whose track has begun: ids are given in their order."""
        assert detections.track_ids is not None
        new = detections[detections.track_ids > self._last_id]
        self._last_id = max(self._last_id, int(detections.track_ids.max(initial=0)))
        return new.class_names


def as_video(frames: Iterable[Frame], fps: float) -> Iterator[Frame]:
    """Yield the images of a source as the frames of one video, named by the first one's folder.

    Raises:
        DetectorError: a frame is one of a video already.
    """
    name, path = "images", None
    for number, frame in enumerate(frames):
        if frame.fps is not None:
            message = "is a video, which has a rate of its own, found fps"
            raise DetectorError(message, file=frame.path or frame.name)
        if not number and frame.path is not None:
            path = frame.path.absolute().parent
            name = path.name or name
        yield replace(frame, name=name, path=path, index=number, fps=fps)
