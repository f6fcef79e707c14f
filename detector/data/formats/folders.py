"""Listing of folders for all readers: links to folders are followed, hidden files are skipped."""

from __future__ import annotations

import fnmatch
import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from glob import has_magic
from pathlib import Path

from detector.data.formats.listing import EMPTY, Listing, list_folder
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
    links = deque([str(folder)])
    while links:
        waiting = [links.popleft()]
        while waiting:
            place = waiting.pop()
            identity = _identity(place)
            if identity in entered:
                continue
            entered.add(identity)
            listing = _listing(place)
            names = sorted(name for name in listing.folders if not is_hidden(name))
            links.extend(os.path.join(place, name) for name in names if name in listing.links)
            plain = [os.path.join(place, name) for name in names if name not in listing.links]
            waiting.extend(reversed(plain))
            for name in listing.files:
                suffix = os.path.splitext(name)[1].lower()
                if (suffixes is None or suffix in suffixes) and not is_hidden(name):
                    yield Path(place, name)


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield paths that match a glob pattern in a folder, except hidden ones; in arbitrary order.

    Args:
        folder: the folder; yields nothing if it does not exist.
        pattern: parts of a path, of which none is ``**``.
    """
    part, _, others = pattern.partition("/")
    for name in _matching(folder, part, folders_only=bool(others)):
        if is_hidden(name):
            continue
        if others:
            yield from visible(folder / name, others)
        else:
            yield folder / name


def folders_in(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, except hidden ones, sorted."""
    return sorted(folder / name for name in _listing(folder).folders if not is_hidden(name))


def _matching(folder: Path, part: str, folders_only: bool) -> Sequence[str]:
    """Return the names in a folder that match one part of a glob pattern."""
    if not has_magic(part):
        return [part] if exists(folder / part) else []
    listing = _listing(folder)
    return fnmatch.filter(
        listing.folders if folders_only else [*listing.folders, *listing.files], part
    )


def _listing(folder: str | Path) -> Listing:
    """Return the names in a folder; none if it does not exist or may not be read."""
    try:
        return list_folder(folder)
    except (OSError, ValueError):  # a path with a character that no path can have
        return EMPTY


def relative_path(path: Path, root: Path) -> str:
    """Return a path below a folder as definitions and messages write it, with slashes."""
    return path.relative_to(root).as_posix()


def is_hidden(name: str) -> bool:
    """Return True for a hidden file or folder, such as .ipynb_checkpoints."""
    return name.startswith(".")


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """Return device and inode, equal for all paths of one folder; None if it cannot be accessed."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
