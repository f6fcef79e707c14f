"""The frames of several cameras and streams as one sequence, which ends when all are gone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Condition

from detector.runtime.streams.address import Address
from detector.runtime.streams.camera import Camera
from detector.runtime.streams.frame_queue import StreamCounts, StreamFrame
from detector.runtime.video import IncompleteVideoError
from detector.settings.streams import StreamSettings
from detector.utils.errors import DetectorError

JOIN_SECONDS = 12.0
"""Longest time that the end waits for the threads: more than a read by OpenCV may take."""

SHOWN_REASONS = 3
"""Maximum number of cameras whose last errors are quoted in one line."""


class LiveFrames:
    """Frames of cameras and streams, in the order in which they arrive, from each one in turn.

    A camera that is lost does not stop the others. Memory is bounded: see ``QUEUED_FRAMES``. Each
    ``iter()`` connects anew.

    Args:
        addresses: the cameras, with different names.
        settings: stride, whether frames are dropped, and when to give up.
        on_bad: called with each error that ends a camera or the run; default: raise it at the end.

    Attributes:
        counts: counts of each camera's frames, by name, of the latest ``iter()``.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        settings: StreamSettings,
        on_bad: Callable[[DetectorError], None] | None = None,
    ) -> None:
        self.counts: dict[str, StreamCounts] = {}
        self._addresses = addresses
        self._settings = settings
        self._on_bad = on_bad
        self._changed = Condition()
        self._cameras: deque[Camera] = deque()
        self._stopped = False

    def __iter__(self) -> Iterator[StreamFrame]:
        """Yield the frames; see the class.

        Raises:
            DetectorError: no camera has sent a frame for ``give_up`` seconds, or one with an end
                could not be read; after the last frame.
        """
        self._stopped = False
        self._cameras = deque(
            Camera(each, self._settings, self._changed) for each in self._addresses
        )
        cameras = list(self._cameras)
        self.counts = {camera.name: camera.counts for camera in cameras}
        for camera in cameras:
            camera.start()
        gone: DetectorError | None = None
        try:
            while (frame := self._next()) is not None:
                yield frame
            if not self._stopped and not all(camera.ended for camera in cameras):
                gone = self._gone(cameras)
        finally:
            self.stop()
            due = time.monotonic() + JOIN_SECONDS
            for camera in cameras:
                camera.join(max(0.0, due - time.monotonic()))
        errors = [camera.error for camera in cameras if camera.error is not None]
        for error in [*errors, *([gone] if gone else [])]:
            if self._on_bad is None:
                raise error
            self._on_bad(error)

    def stop(self) -> None:
        """End the sequence after the frames that wait. Thread-safe."""
        with self._changed:
            self._stopped = True
            for camera in self._cameras:
                camera.stop()
            self._changed.notify_all()

    def _next(self) -> StreamFrame | None:
        """Return the next frame; None after the last one, or after ``give_up`` seconds."""
        due = time.monotonic() + self._settings.give_up
        with self._changed:
            while True:
                for _ in range(len(self._cameras)):
                    self._cameras.rotate(-1)
                    if (frame := self._cameras[-1].queue.take()) is not None:
                        return frame
                left = due - time.monotonic()
                if left <= 0 or self._stopped or all(camera.ended for camera in self._cameras):
                    return None
                self._changed.wait(left)

    def _gone(self, cameras: Sequence[Camera]) -> DetectorError:
        """Return the error that ends the run: which cameras, for how long, and why."""
        lost = [camera for camera in cameras if not camera.ended]
        reasons = [
            f"{camera.name}: {camera.reason or 'no frame'}" for camera in lost[:SHOWN_REASONS]
        ]
        more = f"; and {len(lost) - SHOWN_REASONS} more" if len(lost) > SHOWN_REASONS else ""
        used = sum(camera.counts.received for camera in cameras)
        seconds = f"no frame for {self._settings.give_up:g} s, after {used} frames"
        if len(cameras) == 1:
            reason = f": {lost[0].reason}" if lost[0].reason else ""
            return IncompleteVideoError(f"{seconds}{reason}", file=lost[0].address.shown)
        return IncompleteVideoError(
            f"{len(lost)} of {len(cameras)} streams: {seconds} ({'; '.join(reasons)}{more})"
        )
