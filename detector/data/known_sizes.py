"""Sizes of images that were decoded without a fault before, so that a start need not decode them.

A file counts as unchanged if its number of bytes and the times of its last change are the same, as
for version control. Kept in one SQLite file, which several processes may use.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from detector import __version__
from detector.data.formats.rows import SizeHW
from detector.utils.opencv import cv2

logger = logging.getLogger(__name__)

FILE_NAME = "checked_images.sqlite"

SETTLED_NS = 2_000_000_000
"""Age from which a file's time of change tells that it stays as it is, in nanoseconds: a second
change within the clock's steps would have the same time."""

WAIT_SECONDS = 10.0
"""Longest time for which another process may write."""

State = tuple[int, int, int]
"""Bytes of a file, and when its content and its properties changed, in nanoseconds."""

_VERSION = f"{__version__}, OpenCV {cv2.__version__}"
"""Whose decoder found no fault; another one decodes again."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, version TEXT, bytes INTEGER, "
    "content_ns INTEGER, properties_ns INTEGER, height INTEGER, width INTEGER)"
)


class KnownSizes:
    """Sizes of images by path, for those that have not changed.

    Args:
        folder: folder of the file that keeps them.

    Attributes:
        used: paths whose image need not be decoded.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE_NAME
        self._sizes: dict[str, tuple[State, SizeHW]] = {}
        self._new: dict[str, tuple[State, SizeHW]] = {}
        self.used: set[str] = set()
        if self._file.exists():
            self._sizes = self._read()

    def get(self, path: Path) -> SizeHW | None:
        """Return the size of an unchanged image, or None. Thread-safe."""
        key = _key(path)
        known = self._sizes.get(key)
        if known is None or known[0] != file_state(path):
            return None
        self.used.add(key)
        return known[1]

    def add(self, path: Path, before: State | None, size_hw: SizeHW) -> None:
        """Remember the size of an image that was decoded. Thread-safe.

        Args:
            path: the image file.
            before: its state before it was read.
            size_hw: its height and width, pixels.
        """
        if before is not None and time.time_ns() - max(before[1:]) > SETTLED_NS:
            self._new[_key(path)] = (before, size_hw)

    def lines(self) -> list[str]:
        """Return a line on the images that were not decoded, or nothing."""
        if not self.used:
            return []
        return [
            f"images not decoded again, since they have not changed since an earlier start: "
            f"{len(self.used)}"
        ]

    def save(self) -> None:
        """Write the new sizes; if that fails, a line says so, and the next start decodes again."""
        if not self._new:
            return
        rows = [(key, _VERSION, *state, *size_hw) for key, (state, size_hw) in self._new.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute(_TABLE)
                connection.executemany("REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._warn("written", error)
        self._sizes.update(self._new)
        self._new.clear()

    def _read(self) -> dict[str, tuple[State, SizeHW]]:
        query = "SELECT * FROM images WHERE version = ?"
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute(query, (_VERSION,)).fetchall()
            return {str(row[0]): _values(row) for row in rows}
        except sqlite3.OperationalError as error:  # another process writes for long
            self._warn("read", error)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            self._warn("read", error)
            self._file.unlink(missing_ok=True)
        return {}

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=WAIT_SECONDS)

    def _warn(self, done: str, error: Exception) -> None:
        logger.warning(f"{self._file}: cannot be {done} ({error}); images are decoded again")


def file_state(path: Path) -> State | None:
    """Return the state of a file, or None if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _values(row: Sequence[Any]) -> tuple[State, SizeHW]:
    """Return what a row says about an image.

    Raises:
        ValueError, TypeError: it is none of ours.
    """
    size, content_ns, properties_ns, height, width = map(int, row[2:])
    return (size, content_ns, properties_ns), (height, width)


def _key(path: Path) -> str:
    # SQLite's text is UTF-8; names of files may be any bytes.
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")
