"""One connection to a camera or stream: the reader that suits what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detector.runtime.download import download_image
from detector.runtime.streams.capture import open_capture, read_images, stated_fps, states_length
from detector.runtime.streams.http_answer import HttpAnswer
from detector.runtime.streams.lost import ConnectionLostError
from detector.runtime.streams.multipart import read_parts
from detector.runtime.video import DEFAULT_FPS, read_video
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image, decode_image

MAX_UNREADABLE = 100
"""Maximum number of images in a row that cannot be decoded before a connection is given up."""


@dataclass(frozen=True)
class Connection:
    """An open connection.

    Attributes:
        images: the images, None in place of one that cannot be decoded; see ``ends``.
        fps: frames per second; None for a single image.
        ends: it is an image or a video with an end, not live; otherwise ``images`` ends with a
            ConnectionLostError.
        abort: ends a read in another thread, where that is possible.
        close: closes the connection, in the thread that reads.
    """

    images: Iterator[Image | None]
    fps: float | None
    ends: bool = False
    abort: Callable[[], None] = lambda: None
    close: Callable[[], None] = lambda: None


def connect(target: str) -> Connection:
    """Connect to a stream's URL, a device or a camera's number.

    Raises:
        ConnectionLostError: there is no connection.
    """
    if not target.startswith(("http://", "https://")):
        return _captured(target)
    answer = HttpAnswer(target)
    kind = answer.content_type.partition("/")[0]
    if kind == "multipart":
        images = _decoded(answer)
        return Connection(images, DEFAULT_FPS, abort=answer.abort, close=answer.close)
    answer.close()
    if kind == "image":
        return Connection(_downloaded(answer.url), None, ends=True)
    return _captured(answer.url)


def _captured(target: str) -> Connection:
    """Return a connection of OpenCV."""
    capture = open_capture(target)
    if states_length(capture):
        fps = stated_fps(capture) or DEFAULT_FPS
        capture.release()
        return Connection(_frames_in_order(target), fps, ends=True)
    images = read_images(capture)
    return Connection(images, stated_fps(capture) or DEFAULT_FPS, close=capture.release)


def _frames_in_order(target: str) -> Iterator[Image | None]:
    """Yield the images of a video with an end, None for a frame that cannot be read."""
    count = 0
    for frame in read_video(target):
        while count < frame.number:
            count += 1
            yield None
        count += 1
        yield frame.image_rgb


def _downloaded(url: str) -> Iterator[Image | None]:
    """Yield the image at a URL."""
    data = download_image(url)
    if data is None:
        raise ConnectionLostError("is no image any more")
    yield decode_image(data, url)


def _decoded(answer: HttpAnswer) -> Iterator[Image | None]:
    """Yield the images of an MJPEG answer."""
    unreadable = 0
    for part in read_parts(answer.read, answer.boundary):
        answer.postpone()
        try:
            image_rgb = decode_image(part, "a frame")
        except DetectorError as error:
            unreadable += 1
            if unreadable >= MAX_UNREADABLE:
                message = f"{unreadable} frames in a row cannot be decoded: {error.message}"
                raise ConnectionLostError(message) from error
            yield None
        else:
            unreadable = 0
            yield image_rgb
