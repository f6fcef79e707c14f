"""Files that belong together, replaced by others at one moment, whenever the process is killed.

New files are written into a folder beside the old ones. One rename of that folder, to the name of
:func:`committed`, decides: before it the old files are whole, after it the new ones are. The new
files are then moved into place one by one; where a killed process left some of them in the folder,
the next reader or writer moves them.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detector.utils.errors import DetectorError
from detector.utils.files import (
    MAX_TEMPORARY_BYTES,
    remove,
    remove_orphans,
    sync,
    temporary_path,
)

LOGGER = logging.getLogger(__name__)


@contextmanager
def atomic_together(path: Path, *beside: Path) -> Iterator[list[Path]]:
    """Yield temporary paths, and put all files in place if the ``with`` block succeeds.

    Args:
        path: the main file; missing folders are created.
        *beside: files of the same folder that belong to it.

    Raises:
        DetectorError: the disk is full or the folder is not writable; no file is changed.
    """
    paths, folder = (path, *beside), temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for one in paths:
            remove_orphans(one)
            if one.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        remove(folder)
        folder.mkdir()
        written = [folder / one.name for one in paths]
        yield written
        for one in (*written, folder):
            sync(one)
        _finish(paths)  # what another process left
        os.replace(folder, committed(path))
        _finish(paths)
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror or error}", file=path) from error
    finally:
        remove(folder)


def complete(path: Path, *beside: Path) -> None:
    """Move files into place that a killed process had written, before they are read.

    Args:
        path: the main file.
        *beside: files of the same folder that belong to it.

    Raises:
        DetectorError: they cannot be moved.
    """
    try:
        is_interrupted = _is_folder(committed(path))
        _finish((path, *beside))
    except OSError as error:
        raise DetectorError(
            f"its writing was interrupted; the rest of it lies in {committed(path).name}, which "
            f"cannot be moved: {error.strerror or error}",
            file=path,
        ) from error
    except ValueError:  # no file can have that name, as the reader will say
        return
    if is_interrupted:
        LOGGER.info("%s: its writing was interrupted, and is completed now", path)


def committed(path: Path) -> Path:
    """Return the folder of files that are to replace the file and those that belong to it."""
    name = f".{path.name}.new"
    if len(os.fsencode(name)) > MAX_TEMPORARY_BYTES:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.new"
    return path.with_name(name)


def _finish(paths: tuple[Path, ...]) -> None:
    """Move the files of a committed folder into place; other processes may do so, too."""
    folder = committed(paths[0])
    if not _is_folder(folder):
        return
    for path in paths:
        with suppress(FileNotFoundError):  # it was moved before
            os.replace(folder / path.name, path)
    with suppress(OSError):  # another process removed it
        folder.rmdir()
    sync(folder.parent)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
