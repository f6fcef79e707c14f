"""Reader of checkpoints that runs no code in them: PyTorch's, and Paddle's pickles of arrays.

PyTorch writes zip archives, or the legacy format. The pickle inside is interpreted by
:mod:`detector.weights.pickles.machine`; tensors are read as bytes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from detector.utils.archive import ZIP_START, Archive
from detector.utils.errors import DetectorError
from detector.utils.files import refuse_special
from detector.weights.pickles.arrays import with_arrays
from detector.weights.pickles.machine import (
    MAX_ARRAY_BYTES,
    MAX_PICKLE_BYTES,
    PickleError,
    Storage,
    read_pickle,
)

PROGRAM = "data.pkl"
PICKLE_START = b"\x80"
"""First byte of a pickle of protocol 2 or later: a file of Paddle, or of PyTorch before 1.6."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
START_BYTES = 32
"""Number of bytes by which a file's format is recognized."""


@contextmanager
def open_checkpoint(path: str | Path) -> Iterator[Any]:
    """Open a checkpoint: plain values, :class:`PickledObject` and :class:`StoredTensor`.

    Tensors are read on demand and only inside the ``with`` block.

    Raises:
        DetectorError: the file is missing, damaged, too large, or not a checkpoint.
    """
    path = Path(path)
    refuse_special(path, "a checkpoint")
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
            if not start:
                raise DetectorError("is empty", file=path)
            if _is_legacy(start):
                file.seek(0)
                yield _read_legacy(path, file)
                return
            if start.startswith(PICKLE_START):
                file.seek(0)
                yield _read_arrays(file)
                return
        if not start.startswith(ZIP_START):
            raise DetectorError("not a checkpoint of PyTorch or Paddle", file=path)
        with Archive(path) as archive:
            yield _read_zip(path, archive)
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error
    except PickleError as error:
        raise DetectorError(f"not a checkpoint that can be read: {error}", file=path) from error


def looks_like_checkpoint(path: str | Path) -> bool:
    """Return whether first bytes or archive members are those of a checkpoint of PyTorch.

    Paddle's start as other files may, and are known by their suffix only.
    """
    try:
        refuse_special(Path(path), "a checkpoint")
        with Path(path).open("rb") as file:
            start = file.read(START_BYTES)
        if _is_legacy(start):
            return True
        with Archive(path) as archive:
            return PROGRAM in archive.names
    except (OSError, DetectorError):
        return False


def _is_legacy(start: bytes) -> bool:
    """Return whether a file starts with the pickled number that torch wrote before version 1.6."""
    return start.startswith(PICKLE_START) and LEGACY_MAGIC.to_bytes(10, "little") in start


class _NoStorages:
    """Storages of a pickle of arrays, which refers to none."""

    def read(self, key: str, size: int) -> bytes:
        raise PickleError(f"storage {key!r} is missing")

    def register(self, storage: Storage) -> None:
        raise PickleError(f"storage {storage.key!r} is missing")


def _read_arrays(file: IO[bytes]) -> Any:
    """Read one pickle, a dictionary whose arrays are returned as tensors."""
    size = os.fstat(file.fileno()).st_size
    return with_arrays(read_pickle(file, _NoStorages(), min(size, MAX_ARRAY_BYTES)))


class _ZipStorages:
    """Storages in a zip archive, one member each."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def read(self, key: str, size: int) -> bytes:
        """Return the ``size`` bytes of a storage."""
        data = self._archive.read(f"data/{key}")
        if len(data) != size:
            raise PickleError(f"storage {key!r} has {len(data)} bytes, expected {size}")
        return data

    def register(self, storage: Storage) -> None:
        """Accept a storage; members are found by name, so nothing needs to be kept."""


def _read_zip(path: Path, archive: Archive) -> Any:
    if "constants.pkl" in archive.names:
        raise DetectorError("a TorchScript program, not a checkpoint", file=path)
    if "byteorder" in archive.names and archive.read("byteorder", 16) != b"little":
        raise PickleError("its numbers are big-endian")
    program = archive.read(PROGRAM, MAX_PICKLE_BYTES)
    return read_pickle(io.BytesIO(program), _ZipStorages(archive))


class _LegacyStorages:
    """Storages of the legacy format, one after the other: a count of 8 bytes, then the numbers."""

    def __init__(self, file: IO[bytes]) -> None:
        self._used: dict[str, Storage] = {}
        self._file = file
        self._offsets: dict[str, int] = {}

    def register(self, storage: Storage) -> None:
        """Keep a storage's size until it is located."""
        self._used[storage.key] = storage

    def locate(self, keys: Any) -> None:
        """Find the offset of each storage behind the pickles, in the order of ``keys``."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleError("the list of storages is missing")
        file_size = os.fstat(self._file.fileno()).st_size
        for key in keys:
            if key not in self._used:
                raise PickleError(f"storage {key!r} belongs to no tensor")
            storage = self._used[key]
            count = int.from_bytes(self._file.read(8), "little")
            start = self._file.tell()
            end = start + storage.elements * storage.dtype.itemsize
            if count != storage.elements or end > file_size:
                raise PickleError(f"storage {key!r} is cut short or damaged")
            self._offsets[key] = start
            self._file.seek(end)

    def read(self, key: str, size: int) -> bytes:
        if key not in self._offsets:
            raise PickleError(f"storage {key!r} is missing")
        self._file.seek(self._offsets[key])
        return self._file.read(size)


def _read_legacy(path: Path, file: IO[bytes]) -> Any:
    """Read the legacy format: five pickles (magic, protocol, system, objects, keys), then numbers.

    Raises:
        PickleError: a pickle or a storage is damaged, or the numbers are big-endian.
        DetectorError: the magic number or the protocol is not that of PyTorch.
    """
    storages = _LegacyStorages(file)
    magic, protocol, system = (read_pickle(file, storages) for _ in range(3))
    if (magic, protocol) != (LEGACY_MAGIC, LEGACY_PROTOCOL):
        raise DetectorError("not a checkpoint of PyTorch", file=path)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("its numbers are big-endian")
    objects = read_pickle(file, storages)
    storages.locate(read_pickle(file, storages))
    return objects
