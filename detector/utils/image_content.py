"""Channels, bits and orientation of an image file, read from its header without decoding it.

What is not understood counts as a plain upright image of 8-bit colors: these values are for
reports, and nothing is decoded by them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from detector.utils.image_header import tiff_content

EXIF_START = b"Exif\0\0"
EXIF_ORIENTATION = 0x0112
MAX_EXIF_ENTRIES = 512
"""Largest number of entries of EXIF's first directory that are read."""

MAX_SEGMENTS = 1000
"""Largest number of a JPEG file's segments that are read."""

_SEGMENT = re.compile(rb"\xff+([\x01-\xfe])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_EXIF, _JPEG_SCAN = 0xE1, 0xDA
_PNG_ALPHA = {4, 6}
"""PNG's color types with an alpha channel."""
_PNG_GREY = {0, 4}


@dataclass(frozen=True)
class ImageContent:
    """Properties of an image file that reading it as 8-bit RGB hides.

    Attributes:
        channels: number of stored colors: 1 grey, 3, or 4 for CMYK.
        bits: bits of a channel.
        has_alpha: it has transparency.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    channels: int = 3
    bits: int = 8
    has_alpha: bool = False
    orientation: int = 1


def image_content(data: bytes) -> ImageContent:
    """Return what the header of a JPEG, PNG, WebP or TIFF file says."""
    with suppress(struct.error, IndexError):
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG") and data[12:16] == b"IHDR":
            bits, color = data[24], data[25]
            return ImageContent(1 if color in _PNG_GREY else 3, bits, color in _PNG_ALPHA)
        if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X":
            return ImageContent(has_alpha=bool(data[20] & 0x10))
        if data.startswith((b"II", b"MM")):
            return ImageContent(has_alpha=tiff_content(data).has_alpha)
    return ImageContent()


def _jpeg(data: bytes) -> ImageContent:
    orientation = 1
    for marker, start in _segments(data):
        if marker == _JPEG_EXIF and data.startswith(EXIF_START, start + 2):
            orientation = _orientation(data[start + 2 + len(EXIF_START) :][: 1 << 16])
        elif marker in _JPEG_FRAMES:
            bits, _, _, channels = struct.unpack_from(">BHHB", data, start + 2)
            return ImageContent(channels, bits, orientation=orientation)
    return ImageContent(orientation=orientation)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of the length of each segment before the first scan."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        match = _SEGMENT.match(data, at)
        if match is None or match[1][0] == _JPEG_SCAN:
            return
        yield match[1][0], match.end()
        at = match.end() + struct.unpack_from(">H", data, match.end())[0]


def _orientation(tiff: bytes) -> int:
    """Return the orientation of EXIF's first directory, 1 if there is none."""
    order = "<" if tiff.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for number in range(min(count, MAX_EXIF_ENTRIES)):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * number)
        if tag == EXIF_ORIENTATION:
            return int(value) if 1 <= value <= 8 else 1
    return 1
