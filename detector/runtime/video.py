"""Reading of videos, cameras and streams by OpenCV, with a comparison of the number of frames."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from detector.utils.errors import DetectorError, public_url
from detector.utils.files import utf8_path
from detector.utils.opencv import MAX_IMAGE_PIXELS, Image, cv2

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are raised, not printed

VIDEO_SUFFIXES = frozenset(
    (".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts")
    + (".webm", ".wmv")
)
STREAM_PREFIXES = ("rtsp://", "rtmp://", "http://", "https://")

COUNTED_SUFFIXES = frozenset((".avi", ".m4v", ".mov", ".mp4"))
"""Suffixes of videos whose header has the exact number of frames; others have a duration."""

DURATION_TOLERANCE_SECONDS = 1.0
"""Largest difference between the stated duration and the time of the last frame; the sound may last
longer."""

URL_CHARACTERS = "".join(map(chr, range(128)))
"""Characters of a URL that are passed on as typed; others are escaped."""

MAX_BAD_FRAMES = 1000
"""Maximum number of frames in a row that cannot be read before the rest of a video is given up."""

MAX_FPS, DEFAULT_FPS = 1000.0, 30.0
"""Largest number of frames per second that is believed, and the one used otherwise."""

_log = logging.getLogger(__name__)


class IncompleteVideoError(DetectorError):
    """Error for a video or camera with fewer frames than expected, raised after the last one."""


class VideoFrame(NamedTuple):
    """One frame of a video.

    Attributes:
        number: its number in the video, from 0.
        seconds: its time in the video.
        image_rgb: (h, w, 3) uint8.
        fps: frames per second of the video.
    """

    number: int
    image_rgb: Image
    fps: float
    seconds: float


def is_video(path: str | Path) -> bool:
    """Return whether a file has the suffix of a video."""
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def read_video(target: str | int) -> Iterator[VideoFrame]:
    """Yield the frames of a video file, camera or stream; pass over those that cannot be read.

    Args:
        target: a path, a URL or the number of a camera.

    Raises:
        DetectorError: it cannot be opened, or has no frame.
        IncompleteVideoError: after the last frame, if frames are missing or a camera has stopped.
    """
    with _opened(target) as capture:
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        progress = _Progress(capture, fps if 0 < fps <= MAX_FPS else DEFAULT_FPS)
        while not progress.is_at_end():
            done, image_bgr = capture.read()
            progress.count(done)
            if done:
                image_rgb: Any = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
                yield VideoFrame(progress.index, image_rgb, progress.fps, progress.seconds)
    place = f"camera {target}" if isinstance(target, int) else target
    if progress.frames == 0:
        raise DetectorError("has no frame that OpenCV can decode", file=place)
    if isinstance(target, int):
        raise IncompleteVideoError(f"stopped after {progress.frames} frames", file=place)
    progress.check_complete(place)


class _Progress:
    """Count of the frames of a video that could be read, to compare with its header.

    Attributes:
        fps: frames per second.
        index: number of the latest frame, from 0; frames that could not be read have one too.
        frames: number of frames that could be read.
    """

    def __init__(self, capture: Any, fps: float) -> None:
        self.fps = fps
        self.index, self.frames = -1, 0
        self._capture = capture
        count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._stated = int(count) if count > 0 else None  # False for NaN too
        self._last_seconds = 0.0
        self._failed = self._damaged = 0

    def count(self, done: bool) -> None:
        """Count an attempt to read the next frame."""
        self.index += 1
        if not done:
            self._failed += 1
            return
        self.frames += 1
        self._damaged += self._failed  # frames follow, so that this was not the end
        self._failed = 0
        self._last_seconds = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    @property
    def seconds(self) -> float:
        """Time of the latest frame in the video; of formats without times, by the frame rate."""
        has_time = self._last_seconds > 0  # False for NaN too
        return self._last_seconds if has_time else self.index / self.fps

    def is_at_end(self) -> bool:
        """Return whether no frame can follow: one was not read, and the header states no more."""
        if not self._failed:
            return False
        return self.index + 1 >= (self._stated or 0) or self._failed > MAX_BAD_FRAMES

    def check_complete(self, target: str) -> None:
        """Compare the number of frames with the header's; log the end of a stream without one.

        Raises:
            IncompleteVideoError: there are fewer.
        """
        if self._stated is None:
            if target.startswith(STREAM_PREFIXES):
                _log.warning(
                    "%s: the stream ended after %d frames", public_url(target), self.frames
                )
        elif self._damaged or self._is_short(target):
            raise IncompleteVideoError(
                f"{self.frames} of {self._stated} frames could be read: it is cut short or damaged",
                file=target,
            )

    def _is_short(self, target: str) -> bool:
        """Return whether the end is missing; most formats state only a duration, not a count."""
        assert self._stated is not None
        if self.frames >= self._stated:
            return False
        if Path(target).suffix.lower() in COUNTED_SUFFIXES:
            return True
        return self._last_seconds < self._stated / self.fps - DURATION_TOLERANCE_SECONDS


@contextmanager
def _opened(target: str | int) -> Iterator[Any]:
    """Open a cv2.VideoCapture and release it at the end; refuse pipes, which may never end."""
    if isinstance(target, int):
        with _captured(target, f"no camera with number {target}", None) as capture:
            yield capture
        return
    if target.startswith(STREAM_PREFIXES):
        name: AbstractContextManager[str] = nullcontext(
            quote(target, URL_CHARACTERS, errors="surrogateescape")
        )
    elif Path(target).is_file():
        name = utf8_path(Path(target))
    else:
        raise DetectorError("no such regular file, expected a video", file=target)
    with name as text, _captured(text, "is not a video that OpenCV can read", target) as capture:
        _check_frame_size(capture, target)
        yield capture


@contextmanager
def _captured(target: str | int, message: str, file: str | None) -> Iterator[Any]:
    capture = cv2.VideoCapture(target)
    try:
        if not capture.isOpened():
            raise DetectorError(message, file=file)
        yield capture
    finally:
        capture.release()


def _check_frame_size(capture: Any, target: str) -> None:
    width = float(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = float(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_IMAGE_PIXELS:
        raise DetectorError(
            f"has frames of {width:.0f}×{height:.0f}, more than {MAX_IMAGE_PIXELS} pixels",
            file=target,
        )


def count_frames(path: Path) -> int | None:
    """Return the number of frames in the video's header, None if it has none."""
    with _opened(str(path)) as capture:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return count if count > 0 else None


def count_readable_frames(path: Path) -> int:
    """Return the number of frames of a video that OpenCV can decode; 0 if it is not a video."""
    frames = 0
    try:
        with _opened(str(path)) as capture:
            while capture.grab():
                frames += 1
    except DetectorError:
        return 0
    return frames
