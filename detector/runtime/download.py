"""Download of an image whose URL is a source; imported only for such a source."""

from __future__ import annotations

import base64
import time
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from detector.utils.errors import DetectorError, one_line
from detector.utils.image_header import has_image_header
from detector.utils.opencv import IMAGE_SUFFIXES, MAX_IMAGE_BYTES

ANSWER_SECONDS = 10.0
"""Longest time without an answer from a server."""

DOWNLOAD_SECONDS = 300.0
"""Longest time for the download of one image."""

_CHUNK_BYTES = 1 << 16


def download_image(url: str) -> bytes | None:
    """Return the bytes of an image file at a URL; None if there is a video or stream instead.

    An image is recognised by its content type, else by its first bytes, else by its suffix.

    Args:
        url: begins with ``http://`` or ``https://``; it may hold user and password.

    Raises:
        DetectorError: a URL with the suffix of an image does not answer, or its image is too large
            or takes too long.
    """
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    try:
        with urlopen(_request(url), timeout=ANSWER_SECONDS) as answer:
            start: bytes = answer.read(_CHUNK_BYTES)
            if not _is_image(answer.headers.get_content_type(), start, suffix):
                return None
            return start + _rest(answer, url)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a port that is no number
        if suffix not in IMAGE_SUFFIXES:
            return None  # OpenCV tries, and its error is raised
        raise DetectorError(f"cannot be downloaded: {one_line(error)}", file=url) from error


def _request(url: str) -> Request:
    """Return a request with user and password in a header, which is not sent after a redirect."""
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    request = Request(urlunsplit(parts._replace(netloc=place)))
    if user:
        code = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {code}")
    return request


def _is_image(content_type: str, start: bytes, suffix: str) -> bool:
    kind = content_type.partition("/")[0]
    if kind in ("image", "video", "multipart"):
        return kind == "image"
    return has_image_header(start) or suffix in IMAGE_SUFFIXES


def _rest(answer: Any, url: str) -> bytes:
    """Return what follows the first chunk of an answer."""
    chunks: list[bytes] = []
    size, end = _CHUNK_BYTES, time.monotonic() + DOWNLOAD_SECONDS
    while chunk := answer.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_IMAGE_BYTES:
            raise DetectorError(f"has more than {MAX_IMAGE_BYTES} bytes", file=url)
        if time.monotonic() > end:
            message = f"cannot be downloaded: not complete after {DOWNLOAD_SECONDS:.0f} s"
            raise DetectorError(message, file=url)
    return b"".join(chunks)
