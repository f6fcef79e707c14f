"""Zip archives as PyTorch writes them: one folder, no compression, a checksum for each member.

Members are read one by one, as bytes; callers interpret them.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO

from detector.utils.errors import DetectorError, one_line
from detector.utils.files import refuse_special

MAX_MEMBERS = 100_000
"""Maximum number of members of an archive."""
ZIP_START = b"PK\x03\x04"
"""First bytes of a zip file."""
UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)
"""Exceptions that :mod:`zipfile` raises for damaged, encrypted or other files."""
NO_ARRAYS = (
    *UNREADABLE,
    KeyError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    tokenize.TokenError,
    zlib.error,
)
"""Exceptions that numpy raises besides, for an ``.npz`` file that is damaged or holds others."""


class Archive:
    """Open archive, to be used as a context manager.

    Args:
        path: the file; with ``stream``, only its name in errors.
        stream: file object to read instead.

    Raises:
        DetectorError: the file is not a zip file, damaged, or not as PyTorch writes it. Compressed
            or overlapping members are refused, since they could unpack to any size.
    """

    def __init__(self, path: str | Path, stream: IO[bytes] | None = None) -> None:
        self.path = Path(path)
        if stream is None:
            refuse_special(self.path, "an archive of PyTorch")
        try:
            self._zip = zipfile.ZipFile(self.path if stream is None else stream)
        except FileNotFoundError as error:
            raise DetectorError("no such file", file=path) from error
        except UNREADABLE as error:
            raise self._damaged(error) from error
        try:
            self._members = self._checked_members()
        except BaseException:
            self._zip.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, without the folder that holds them all."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Return the size of a member in bytes."""
        return self._member(name).file_size

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Read a member and verify its checksum.

        Args:
            name: the member.
            limit: largest size that is read, in bytes; None: any.

        Raises:
            DetectorError: there is no such member, it is larger than ``limit``, or it is damaged.
        """
        member = self._member(name)
        if limit is not None and member.file_size > limit:
            raise DetectorError(
                f"{name!r} has {member.file_size} bytes, at most {limit} are read", file=self.path
            )
        try:
            return self._zip.read(member)
        except UNREADABLE as error:
            raise self._damaged(error) from error

    def check(self) -> None:
        """Verify the checksum of every member; raise DetectorError if one does not match."""
        for name in self.names:
            self.read(name)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._zip.close()

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise DetectorError(f"has no {name!r}", file=self.path)
        return self._members[name]

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise self._foreign(f"{len(infos)} members, at most {MAX_MEMBERS} are read")
        end = 0
        members: dict[str, zipfile.ZipInfo] = {}
        for info in sorted(infos, key=lambda info: info.header_offset):
            _, _, name = info.filename.partition("/")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise self._foreign(f"{info.filename!r} is compressed")
            if info.header_offset < end:
                raise self._foreign(f"{info.filename!r} overlaps another member")
            if name in members:
                raise self._foreign(f"{info.filename!r} appears twice")
            end = info.header_offset + info.file_size
            if name:
                members[name] = info
        if len({info.filename.partition("/")[0] for info in infos}) > 1:
            raise self._foreign("its members lie in several folders")
        return members

    def _foreign(self, message: str) -> DetectorError:
        return DetectorError(f"not an archive of PyTorch: {message}", file=self.path)

    def _damaged(self, error: Exception) -> DetectorError:
        message = f"damaged or not an archive of PyTorch: {one_line(error)}"
        return DetectorError(message, file=self.path)
