"""Cameras and streams that OpenCV reads, all but MJPEG over HTTP, with limits of time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np

from detector.runtime.streams.lost import ConnectionLostError
from detector.runtime.video import MAX_FPS, STREAM_PREFIXES, URL_CHARACTERS
from detector.utils.opencv import MAX_IMAGE_PIXELS, Image, cv2

OPEN_SECONDS = READ_SECONDS = 10.0
"""Longest time for a connection, and for each frame."""

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""Variable by which OpenCV passes options to FFmpeg."""

# RTSP over TCP loses no packets; a redirect could lead to any host, see http_answer.py.
os.environ.setdefault(OPTIONS, "rtsp_transport;tcp|max_redirects;0")


def open_capture(target: str) -> Any:
    """Open a stream's URL, a device or a camera's number as a cv2.VideoCapture.

    Raises:
        ConnectionLostError: it cannot be opened in time, or its frames are too large.
    """
    began = time.monotonic()
    if target.startswith(STREAM_PREFIXES):
        limits = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_SECONDS * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_SECONDS * 1000)),
        ]
        capture: Any = cv2.VideoCapture(quote(target, URL_CHARACTERS), cv2.CAP_FFMPEG, limits)
    elif target.isdecimal():
        capture = cv2.VideoCapture(int(target))
    else:
        capture = cv2.VideoCapture(target, cv2.CAP_V4L2)
    if not capture.isOpened():
        late = time.monotonic() - began >= OPEN_SECONDS
        raise ConnectionLostError(
            f"no answer within {OPEN_SECONDS:g} s" if late else "cannot be opened by OpenCV"
        )
    width, height = (
        float(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    if width * height > MAX_IMAGE_PIXELS:
        capture.release()
        raise ConnectionLostError(
            f"has frames of {width:.0f}×{height:.0f}, more than {MAX_IMAGE_PIXELS} pixels"
        )
    return capture


def stated_fps(capture: Any) -> float | None:
    """Return the frames per second that a stream states, if it states a possible number."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= MAX_FPS else None


def states_length(capture: Any) -> bool:
    """Return whether this is a video with an end: its header states a number of frames."""
    return float(capture.get(cv2.CAP_PROP_FRAME_COUNT)) > 0


def read_images(capture: Any) -> Iterator[Image]:
    """Yield the images of an open camera or stream, and close it at the end.

    Raises:
        ConnectionLostError: always, after the last image.
    """
    try:
        while True:
            began = time.monotonic()
            done, image_bgr = capture.read()
            if not done:
                late = time.monotonic() - began >= READ_SECONDS
                raise ConnectionLostError(
                    f"no frame for {READ_SECONDS:g} s" if late else "the stream has ended"
                )
            yield np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()
