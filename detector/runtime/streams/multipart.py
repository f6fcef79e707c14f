"""Parts of an endless multipart answer, as cameras send JPEG images over HTTP (MJPEG)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from detector.runtime.streams.lost import ConnectionLostError

MAX_FRAME_BYTES = 1 << 25
"""Largest part that is read: 32 MiB, more than the JPEG of a 100-megapixel camera."""

MAX_LINE_BYTES = 1 << 13
"""Longest line between parts."""

MAX_HEADER_LINES = 64
"""Maximum number of header lines of a part."""

MAX_SKIPPED_BYTES = 1 << 16
"""Maximum number of bytes between parts that belong to none."""

_CHUNK_BYTES = 1 << 16


def read_parts(read: Callable[[int], bytes], boundary: str) -> Iterator[bytes]:
    """Yield the contents of the parts; memory is bounded by the limits above.

    Args:
        read: returns 1 to that many bytes, or none at the end.
        boundary: as the header says; some cameras count the two dashes before it as its own.

    Raises:
        ConnectionLostError: the answer ends, is not made of parts, or exceeds a limit.
    """
    source = _Buffer(read)
    name = boundary.lstrip("-").encode("latin-1", errors="replace")
    if not name:
        raise ConnectionLostError("the answer is multipart, but names no boundary")
    while True:
        delimiter = _skip_to_boundary(source, name)
        length = _content_length(source)
        yield source.until(b"\n" + delimiter) if length is None else source.exactly(length)


def _skip_to_boundary(source: _Buffer, name: bytes) -> bytes:
    """Read the line of the next boundary and return it."""
    skipped = 0
    while skipped <= MAX_SKIPPED_BYTES:
        line = source.line()
        found = line.strip()
        if found.startswith(b"--"):
            if found.lstrip(b"-") == name:
                return found
            if found.strip(b"-") == name.rstrip(b"-"):
                raise ConnectionLostError("the server has ended the stream")
        skipped += len(line)
    raise ConnectionLostError(f"no frame begins within {MAX_SKIPPED_BYTES} bytes: it is not MJPEG")


def _content_length(source: _Buffer) -> int | None:
    """Read the header of a part; return the stated length of the part."""
    length = None
    for _ in range(MAX_HEADER_LINES):
        key, _, value = source.line().strip().partition(b":")
        if not key:
            return length
        if key.strip().lower() == b"content-length":
            length = _checked_length(value.strip())
    raise ConnectionLostError(f"a frame has more than {MAX_HEADER_LINES} header lines")


def _checked_length(value: bytes) -> int:
    if not (value.isdigit() and len(value) < 20 and 0 < int(value) <= MAX_FRAME_BYTES):
        found = value[:20].decode("ascii", errors="replace")
        raise ConnectionLostError(
            f"a frame states a length of {found!r}, expected 1 to {MAX_FRAME_BYTES} bytes"
        )
    return int(value)


class _Buffer:
    """Bytes that were read ahead."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = bytearray()

    def line(self) -> bytes:
        """Return the next line, with its end."""
        return self._take(self._find(b"\n", MAX_LINE_BYTES, "a line") + 1)

    def until(self, delimiter: bytes) -> bytes:
        """Return the bytes before a delimiter and the line end before it."""
        end = self._find(delimiter, MAX_FRAME_BYTES, "a frame")
        return self._take(end).removesuffix(b"\r")

    def exactly(self, count: int) -> bytes:
        """Return so many bytes."""
        while len(self._data) < count:
            self._more()
        return self._take(count)

    def _find(self, wanted: bytes, limit: int, what: str) -> int:
        """Return the place of some bytes, and read until they are there."""
        start = 0
        while (place := self._data.find(wanted, start)) < 0 and len(self._data) <= limit:
            start = max(0, len(self._data) - len(wanted) + 1)
            self._more()
        if not 0 <= place <= limit:
            raise ConnectionLostError(f"{what} has more than {limit} bytes: it is not MJPEG")
        return place

    def _more(self) -> None:
        data = self._read(_CHUNK_BYTES)
        if not data:
            raise ConnectionLostError("the server has closed the connection")
        self._data += data

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken
