"""Frames of one camera between its thread and the network: few of them, each one counted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from threading import Condition

from detector.utils.opencv import Image

QUEUED_FRAMES = 4
"""Maximum number of frames of a camera that wait; with ``latest`` one waits, the newest."""


@dataclass
class StreamFrame:
    """One frame of a camera or stream.

    Attributes:
        name: name of the camera's results.
        index: its number among the frames that were received, from 0.
        image_rgb: (h, w, 3) uint8.
        fps: frames per second, those left out by a stride not counted; None for a single image.
        seconds: time since the camera's first frame.
        time: when it was received, in UTC; None for an image or a video with an end.
        dropped: number of frames dropped between the one before it and this one.
    """

    name: str
    index: int
    image_rgb: Image
    fps: float | None
    seconds: float
    time: datetime | None
    dropped: int = 0


@dataclass
class StreamCounts:
    """Counts of a camera's frames: received = used + skipped + dropped + unreadable.

    Attributes:
        received: complete frames that have arrived.
        used: frames given to the network.
        skipped: frames left out by the stride.
        dropped: frames dropped because the network was behind, or the run was stopped.
        unreadable: frames that could not be decoded.
        losses: number of times that the connection was lost, or could not be made.
    """

    received: int = 0
    used: int = 0
    skipped: int = 0
    dropped: int = 0
    unreadable: int = 0
    losses: int = 0


class FrameQueue:
    """Queue of a camera's frames; all queues of a run share one condition.

    Args:
        changed: the condition, notified after each change.
        counts: where used and dropped frames are counted.
    """

    def __init__(self, changed: Condition, counts: StreamCounts) -> None:
        self._changed = changed
        self._counts = counts
        self._frames: deque[StreamFrame] = deque()
        self._dropped_before = 0
        self._closed = False

    def put(self, frame: StreamFrame, *, latest: bool) -> bool:
        """Add a frame; return whether it had to wait.

        Args:
            frame: the frame.
            latest: drop the frames that wait, instead of waiting for a place.
        """
        with self._changed:
            waited = False
            while not latest and len(self._frames) >= QUEUED_FRAMES and not self._closed:
                waited = True
                self._changed.wait()
            if self._closed:
                self._counts.dropped += 1
                return waited
            while latest and self._frames:
                self._dropped_before += 1 + self._frames.popleft().dropped
                self._counts.dropped += 1
            frame.dropped, self._dropped_before = self._dropped_before, 0
            self._frames.append(frame)
            self._changed.notify_all()
            return waited

    def take(self) -> StreamFrame | None:
        """Return the next frame, None if there is none now. The condition must be held."""
        if not self._frames:
            return None
        self._counts.used += 1
        self._changed.notify_all()
        return self._frames.popleft()

    def close(self) -> None:
        """Accept no more frames; those that wait can still be taken. The condition must be held."""
        self._closed = True
        self._changed.notify_all()
