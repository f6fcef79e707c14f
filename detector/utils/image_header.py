"""Number of pixels of an image file according to its header, read without decoding it.

OpenCV allocates the size that the header declares, and applies a limit only if that was in the
environment when it was loaded. The readers here skip whatever decoders skip, so that no file can
declare one size here and another one to the decoder; general libraries that read image sizes do
not ensure this. A header that is not understood has no size.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

SizeWh = tuple[int, int]


def stated_pixels(data: bytes) -> int | None:
    r"""Return width · height from the header, or None if it is truncated or not recognized.

    >>> stated_pixels(b"P5 # grey\n20 10 255\n")
    200
    """
    size = stated_size(data)
    return None if size is None else size[0] * size[1]


def stated_size(data: bytes) -> SizeWh | None:
    """Return two sides from the header, or None if it is truncated or not recognized.

    Which of them is the width depends on the format and on the EXIF orientation.
    """
    reader = next((reader for start, reader in _READERS.items() if data.startswith(start)), None)
    if reader is None:
        return None
    try:
        return reader(data)
    except struct.error:  # the file ends before its size
        return None


def has_image_header(data: bytes) -> bool:
    """Return whether bytes begin as an image file of a known format does."""
    if data.startswith(b"RIFF"):  # WebP, or sound or video
        return data[8:12] == b"WEBP"
    return data.startswith(tuple(_READERS))


_AVIF_TURN = re.compile(rb"\0\0\0\x09(irot|imir)(.)", re.DOTALL)


def avif_turns(data: bytes) -> dict[str, int] | None:
    """Return the values of the boxes ``irot`` and ``imir`` of an AVIF image, None if they differ.

    OpenCV ignores them. ``irot`` is a number of quarter turns against the clock; ``imir``, applied
    after it, is 0 for top and bottom exchanged, 1 for left and right.
    """
    if data[4:12] not in (b"ftypavif", b"ftypavis"):
        return {}
    found: dict[str, int] = {}
    header = data[: data.find(b"mdat") % (len(data) + 1)]  # all of it if there is no such box
    for name, value in _AVIF_TURN.findall(header):
        if found.setdefault(name.decode(), value[0] & 3) != value[0] & 3:
            return None
    return found


# FF and a byte that is neither padding nor a marker without a body (restarts and TEM).
_JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_BODY = frozenset({0xD8, 0xD9, 0xDA})
"""Markers of start, end and scan; if one comes before the frame header, the file is broken."""


def _jpeg(data: bytes) -> SizeWh | None:
    """Read the size from the frame header, which follows any number of other segments."""
    at = 2
    while (match := _JPEG_MARKER.search(data, at)) is not None:
        marker, at = match[1][0], match.end()
        if marker in _JPEG_FRAMES:
            return struct.unpack_from(">HH", data, at + 3)  # length, bits of a sample, size
        if marker in _JPEG_WITHOUT_BODY:
            return None
        (length,) = struct.unpack_from(">H", data, at)
        at += max(length, 2)
    return None


def _png(data: bytes) -> SizeWh | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> SizeWh:
    return struct.unpack_from("<HH", data, 6)


_BMP_CORE_BYTES = 12
"""Length of the oldest BMP header, whose sizes have 16 bits."""


def _bmp(data: bytes) -> SizeWh:
    (length,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if length == _BMP_CORE_BYTES else "<ii", data, 18)
    return abs(width), abs(height)  # a negative height means rows from top to bottom


def _webp(data: bytes) -> SizeWh | None:
    """Read the size from the first chunk: the canvas of extended files, or the only image."""
    form, kind = data[8:12], data[12:16]
    if form != b"WEBP":
        return None
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return (high_w << 16 | low_w) + 1, (high_h << 16 | low_h) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""TIFF's codes of integer types → their :mod:`struct` formats."""
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_MAX_VALUES = 64
"""Maximum number of values of a tag that are read; each of an image's channels has one."""
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
"""TIFF's tags of width and height."""
_TIFF_CLASSIC, _TIFF_BIG = (4, "H", "HHI4s"), (8, "Q", "HHQ8s")
"""Position of the directory's offset, and :mod:`struct` formats of the directory's count and of an
entry (tag, type, count, value)."""


def _tiff(data: bytes) -> SizeWh | None:
    """Read the size from the first directory; the largest value counts if a tag is repeated."""
    sizes: dict[int, int] = {}
    for tag, values in _tiff_integers(data, {_TIFF_WIDTH, _TIFF_HEIGHT}):
        if len(values) != 1:
            return None
        sizes[tag] = max(*values, sizes.get(tag, 0))
    return (sizes[_TIFF_WIDTH], sizes[_TIFF_HEIGHT]) if len(sizes) == 2 else None


def _tiff_integers(data: bytes, tags: set[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield tags of the first directory with their values, which are () if they are no integers.

    Raises:
        struct.error: the file ends before them.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = 43 in data[2:4]
    where, head, entry = _TIFF_BIG if is_big else _TIFF_CLASSIC
    (at,) = struct.unpack_from(order + entry[2], data, where)
    if at >= len(data):
        return
    (count,) = struct.unpack_from(order + head, data, at)
    start, each = at + struct.calcsize(head), struct.calcsize(order + entry)
    rows = data[start : start + min(count, len(data) // each) * each]
    for tag, kind, length, value in struct.iter_unpack(order + entry, rows):
        if tag in tags:
            letter = _TIFF_INTEGERS.get(kind)
            form = f"{order}{min(length, _TIFF_MAX_VALUES)}{letter}"
            if letter is None or length > _TIFF_MAX_VALUES:
                yield tag, ()
            elif struct.calcsize(form) <= len(value):
                yield tag, struct.unpack_from(form, value)
            else:  # the value is the position of the numbers
                (place,) = struct.unpack(order + entry[2], value)
                yield tag, struct.unpack_from(form, data, min(place, len(data)))


_TIFF_COLORS, _TIFF_ALPHA, _TIFF_NUMBERS = 262, 338, 339
"""TIFF's tags of the meaning of colors, of channels beyond these, and of the kind of numbers."""
_TIFF_LAB = {8, 9, 10}
"""Values of the first: CIE L*a*b*, ICC's and ITU's forms of it."""
_TIFF_IS_ALPHA = {1, 2}
"""Values of the second: transparency with the colors multiplied by it, and without."""
_TIFF_SIGNED = 2
"""Value of the third: signed integers."""


class TiffContent(NamedTuple):
    """What a TIFF image holds that OpenCV does not decode to its colors.

    Attributes:
        is_signed: its numbers are signed integers, of which OpenCV drops the sign.
        is_lab: its colors are L*a*b*, which OpenCV converts with another gamma than sRGB's.
        has_alpha: it has transparency, which OpenCV multiplies its colors by.
    """

    is_signed: bool = False
    is_lab: bool = False
    has_alpha: bool = False


def tiff_content(data: bytes) -> TiffContent:
    """Return what a TIFF image holds; of other formats, and damaged files, nothing of that."""
    if not data.startswith(_TIFF_STARTS):
        return TiffContent()
    found: dict[int, set[int]] = {_TIFF_COLORS: set(), _TIFF_ALPHA: set(), _TIFF_NUMBERS: set()}
    with suppress(struct.error):
        for tag, values in _tiff_integers(data, set(found)):
            found[tag].update(values)
    return TiffContent(
        is_signed=_TIFF_SIGNED in found[_TIFF_NUMBERS],
        is_lab=bool(_TIFF_LAB & found[_TIFF_COLORS]),
        has_alpha=bool(_TIFF_IS_ALPHA & found[_TIFF_ALPHA]),
    )


# White space and comments may precede a number, and any byte ends it.
_PNM_NUMBER = rb"(?:\s|#[^\r\n]*[\r\n])*0*(\d{1,10})(?!\d)"
_PNM = re.compile(rb"P[1-6](?=\s)" + _PNM_NUMBER + rb"(?s:.)" + _PNM_NUMBER)


def _pnm(data: bytes) -> SizeWh | None:
    match = _PNM.match(data)
    return None if match is None else (int(match[1]), int(match[2]))


_READERS: dict[bytes, Callable[[bytes], SizeWh | None]] = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF8": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
    **dict.fromkeys(_TIFF_STARTS, _tiff),
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), _pnm),
}
"""Readers by the first bytes of a format's files."""
