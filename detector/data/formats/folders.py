"""Listing of folders for all readers: links to folders are followed, hidden files are skipped."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from detector.utils.files import exists


def files_below(folder: Path, suffixes: Collection[str] | None) -> Iterator[Path]:
    """Yield files with some suffixes below a folder, except hidden ones or in hidden folders.

    Links to folders are followed after all plain folders, so that a file in the folder itself gets
    its direct path. Each folder is entered once, and parents of the given folder never: loops of
    links end.

    Args:
        folder: folder to search; yields nothing if it does not exist.
        suffixes: lower case, with their dots; those of files are compared case-insensitively. None
            yields all files.
    """
    entered = {_identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    waiting = deque([str(folder)])
    while waiting:
        for place, folders, files in os.walk(waiting.popleft()):
            identity = _identity(place)
            if identity in entered:
                folders.clear()
                continue
            entered.add(identity)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            paths = (os.path.join(place, name) for name in folders)
            waiting.extend(path for path in paths if os.path.islink(path))
            for name in files:
                suffix = os.path.splitext(name)[1].lower()
                if (suffixes is None or suffix in suffixes) and not is_hidden(name):
                    yield Path(place, name)


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield paths that match a glob pattern in a folder, except hidden ones; in arbitrary order."""
    if not exists(folder):
        return
    for path in folder.glob(pattern):
        if not any(is_hidden(part) for part in path.relative_to(folder).parts):
            yield path


def folders_in(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, except hidden ones, sorted.

    Unlike a pattern, this does not look at each of its files, which may be a million images.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _is_folder(entry)]
    except OSError:  # no folder, or one that may not be read
        return []
    return sorted(folder / name for name in names if not is_hidden(name))


def relative_path(path: Path, root: Path) -> str:
    """Return a path below a folder as definitions and messages write it, with slashes."""
    return path.relative_to(root).as_posix()


def is_hidden(name: str) -> bool:
    """Return True for a hidden file or folder, such as .ipynb_checkpoints."""
    return name.startswith(".")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """Return device and inode, equal for all paths of one folder; None if it cannot be accessed."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
