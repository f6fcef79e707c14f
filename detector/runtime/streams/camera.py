"""A thread that keeps the connection to one camera or stream, and makes it anew when it is lost."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import datetime, timezone
from threading import Condition, Event, Thread

from detector.runtime.streams.address import Address
from detector.runtime.streams.connection import Connection, connect
from detector.runtime.streams.frame_queue import FrameQueue, StreamCounts, StreamFrame
from detector.runtime.streams.lost import ConnectionLostError
from detector.settings.streams import StreamSettings
from detector.utils.errors import DetectorError, one_line
from detector.utils.opencv import Image

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.5, 30.0
"""Time before the first new connection, which doubles with each that fails, and its maximum."""

BEHIND_FRAMES = 100
"""Number of frames in a row that must wait for the network before that is said."""

_log = logging.getLogger(__name__)


class Camera(Thread):
    """Reader of one camera or stream.

    Args:
        address: the camera.
        settings: stride, and whether frames are dropped.
        changed: condition that is notified of each frame and of the end.

    Attributes:
        name: name of its results, and of the thread.
        counts: counts of its frames.
        queue: frames that wait for the network.
        ended: no frame follows: a video or an image was read to its end.
        error: why it was not read to its end.
        reason: why the connection was lost last.
    """

    def __init__(self, address: Address, settings: StreamSettings, changed: Condition) -> None:
        super().__init__(daemon=True, name=address.name)
        self.address = address
        self.counts = StreamCounts()
        self.queue = FrameQueue(changed, self.counts)
        self.ended = False
        self.error: DetectorError | None = None
        self.reason = ""
        self._settings = settings
        self._changed = changed
        self._stopped = Event()
        self._connection: Connection | None = None
        self._began: float | None = None
        self._lost_at: float | None = None
        self._waited = 0
        self._attempts = 0

    def run(self) -> None:
        """Read until the end of a video, or :meth:`stop`."""
        wait = FIRST_WAIT_SECONDS
        while not self._stopped.is_set():
            self._first_frame_at: float | None = None
            try:
                self._read_connection()
                break
            except ConnectionLostError as error:
                self._note_loss(error.message)
            except DetectorError as error:
                self.error = error
                break
            except Exception as error:
                self._note_loss(f"unexpected {type(error).__name__}: {one_line(error)}")
            lasted = time.monotonic() - (self._first_frame_at or time.monotonic())
            wait = FIRST_WAIT_SECONDS if lasted > wait else wait
            self._stopped.wait(wait)
            wait = min(2 * wait, MAX_WAIT_SECONDS)
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ask the thread to end. The condition must be held."""
        self._stopped.set()
        self.queue.close()
        connection = self._connection
        if connection is not None:
            connection.abort()

    def _read_connection(self) -> None:
        with closing(connect(self.address.target)) as connection:
            self._connection = connection  # from now on stop() can abort a read
            while not self._stopped.is_set():
                try:
                    image_rgb = next(connection.images)
                except StopIteration:
                    return
                self._receive(image_rgb, connection)

    def _receive(self, image_rgb: Image | None, connection: Connection) -> None:
        """Count an image, and pass it on if it is one of the stride's."""
        counts, now = self.counts, time.monotonic()
        index = counts.received
        counts.received += 1
        if image_rgb is None:
            counts.unreadable += 1
            return
        self._note_return(now)
        if index % self._settings.vid_stride:
            counts.skipped += 1
            return
        fps = connection.fps
        frame = StreamFrame(
            self.name,
            index,
            image_rgb,
            fps and fps / self._settings.vid_stride,
            index / (fps or 1) if connection.ends else now - (self._began or now),
            None if connection.ends else datetime.now(timezone.utc),
        )
        self._note_wait(self.queue.put(frame, latest=self._settings.latest and not connection.ends))

    def _note_loss(self, reason: str) -> None:
        """Say that the connection is lost, once until it returns."""
        if self._stopped.is_set():
            return
        self.counts.losses += 1
        self.reason = reason
        self._attempts += 1
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            received = self.counts.received
            what = f"lost after {received} frames" if received else "no connection"
            text = f"{what}: {reason}; connecting again to {self.address.shown}"
            _log.warning("%s", self._line(text))

    def _note_return(self, now: float) -> None:
        """Say that frames arrive again after a loss."""
        if self._began is None:
            self._began = now
        if self._first_frame_at is None:
            self._first_frame_at = now
        if self._lost_at is not None:
            seconds, attempts = now - self._lost_at, self._attempts
            self._lost_at, self._attempts = None, 0
            plural = "" if attempts == 1 else "s"
            text = f"frames arrive again after {seconds:.1f} s and {attempts} attempt{plural}"
            _log.warning("%s", self._line(text))

    def _note_wait(self, waited: bool) -> None:
        """Say once that the network is slower than the camera."""
        self._waited = self._waited + 1 if waited else 0
        if self._waited == BEHIND_FRAMES:
            text = "frames come faster than they are used and wait; --latest drops them instead"
            _log.warning("%s", self._line(text))

    def _line(self, text: str) -> str:
        """Return a message about this camera in one printable line, without secrets."""
        return str(DetectorError(f"{self.name}: {text}"))
