"""Files that are written whole or not at all, files that are read whole if they are not too large.

And the YAML files that travel with the package.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from detector.utils.errors import DetectorError, MissingFileError, nearest, shown

TEMPORARY = ".*.tmp*"
"""Pattern of what :func:`atomic` writes beside a file; a killed process leaves it behind."""


@contextmanager
def atomic(
    path: str | Path, previous: Path | None = None, *, synced: bool = True
) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place if the block succeeds.

    Args:
        path: the file.
        previous: where the file that it replaces is kept.
        synced: be on the disk before it takes the place; for what can be made anew that is slow.

    Raises:
        DetectorError: the disk is full or the folder cannot be written; ``path`` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if synced:
            _sync(temporary)
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
        if synced and os.name == "posix":  # the new names, too, where a system can be asked to
            _sync(path.parent)
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror or error}", file=path) from error
    finally:
        with suppress(OSError):  # it is not there, or its folder is none
            temporary.unlink()


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left in a folder that nobody else writes to."""
    for leftover in folder.glob(TEMPORARY):
        leftover.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_limited(path: str | Path, limit_bytes: int, expected: str) -> bytes:
    """The whole of a regular file: devices and pipes may have no end, and may never begin.

    Args:
        path: the file.
        limit_bytes: its largest size.
        expected: what the file should be, e.g. ``"an image"``.

    Raises:
        MissingFileError: there is none.
        DetectorError: no regular file, too large, cannot be read, or a name that no file can have.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError
            if status.st_size > limit_bytes:
                raise DetectorError(f"has more than {limit_bytes} bytes", file=path)
            data = file.read(status.st_size + 1)
            if len(data) > status.st_size:  # it grows, or is one that states no size
                data += file.read(limit_bytes - status.st_size)
    except FileNotFoundError as error:
        raise MissingFileError(f"cannot be read: {error.strerror}", file=path) from error
    except IsADirectoryError as error:  # what open itself raises of a folder
        raise DetectorError(f"is not a regular file, expected {expected}", file=path) from error
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error
    except ValueError as error:  # a null character, or half of a surrogate pair
        raise DetectorError("cannot be read: no file can have that name", file=path) from error
    if len(data) > limit_bytes:
        raise DetectorError(f"has more than {limit_bytes} bytes", file=path)
    return data


def read_text(path: str | Path, limit_bytes: int, expected: str) -> str:
    """The text of a regular UTF-8 file, without a byte-order mark.

    Raises:
        DetectorError: as :func:`read_limited` does, or it is other than UTF-8.
    """
    try:
        return read_limited(path, limit_bytes, expected).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DetectorError("is not UTF-8 text", file=path) from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a pipe that nobody writes to without waiting; it is refused then."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def as_path(value: str | Path, name: str) -> Path:
    """Return a path, for an argument of that name.

    Raises:
        DetectorError: it is something else.
    """
    if not isinstance(value, (str, Path)):
        raise DetectorError(f"{name}: expected a path, found {shown(value)}")
    return Path(value)


def find_file(
    path: str | Path, folder: Literal["cfg", "datasets"], beside: Path | None = None
) -> Path:
    """Resolve ``cfg/x.yaml``, ``x.yaml`` or ``x``: as given, else the packaged file.

    Args:
        path: name or path.
        folder: of the packaged files.
        beside: the folder where a relative path starts; default: the working one.

    Raises:
        DetectorError: there is no such file; names the nearest packaged one.
    """
    path = as_path(path, folder)
    given = path if beside is None else beside / path
    with suppress(OSError):  # a name too long to be one
        if given.is_file():
            return given
    packaged = packaged_files(folder)
    relative = path.relative_to(folder) if path.parts[:1] == (folder,) else path
    name = relative.with_suffix("").as_posix() if relative.name else ""
    found = packaged.get(name)
    if found is None:
        hint = nearest(name, packaged)
        raise DetectorError(f"no such file{hint}", file=path)
    return found


def packaged_files(folder: Literal["cfg", "datasets"]) -> dict[str, Path]:
    """Names without suffix → files of the wheel's, or of the checkout's, ``folder``."""
    package = Path(__file__).parents[1]
    root = next(
        (place for place in (package / folder, package.parent / folder) if place.is_dir()), None
    )
    if root is None:
        return {}
    return {
        file.relative_to(root).with_suffix("").as_posix(): file
        for file in sorted(root.rglob("*.yaml"))
    }
