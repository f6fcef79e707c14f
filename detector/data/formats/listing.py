"""Listings of folders, each held while its folder does not change: a set is searched many times."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

SETTLED_NANOSECONDS = 2_000_000_000
"""Age of a folder's last change from which on a further change has a later time of change.

File systems note times in steps of up to two seconds.
"""

MAX_HELD_NAMES = 250_000
"""Largest number of names that are held, some tens of MB; others are listed anew each time."""


class Listing(NamedTuple):
    """Names in a folder, in the order of the file system.

    Attributes:
        folders: its folders, links to folders included.
        links: those that are links.
        files: all other entries.
    """

    folders: tuple[str, ...]
    links: frozenset[str]
    files: tuple[str, ...]


EMPTY = Listing((), frozenset(), ())

_State = tuple[int, int, int]
"""Device, inode and time of the last change of a folder."""


class _Held:
    """Listings by path, with the state of the folder at that time; full from a limit on."""

    def __init__(self) -> None:
        self._listings: dict[str, tuple[_State, Listing]] = {}
        self._names = 0

    def get(self, path: str, state: _State) -> Listing | None:
        """Return the listing of a folder that has not changed since, or None."""
        known, listing = self._listings.get(path, (None, None))
        return listing if known == state else None

    def put(self, path: str, state: _State, listing: Listing) -> None:
        """Hold a listing, unless there are too many names."""
        _, old = self._listings.pop(path, (state, EMPTY))
        self._names += _count(listing) - _count(old)
        if self._names > MAX_HELD_NAMES:
            self._names -= _count(listing)
        else:
            self._listings[path] = (state, listing)


_held = _Held()


def list_folder(folder: str | os.PathLike[str]) -> Listing:
    """Return the names in a folder.

    Raises:
        OSError: there is no such folder, or it may not be read.
    """
    path = os.path.abspath(folder)
    status = os.stat(path)
    state = (status.st_dev, status.st_ino, status.st_mtime_ns)
    known = _held.get(path, state)
    if known is not None:
        return known
    is_settled = time.time_ns() - status.st_mtime_ns > SETTLED_NANOSECONDS
    listing, has_links = _list(path)
    # What a link leads to may change without a change of the folder.
    if is_settled and not has_links:
        _held.put(path, state, listing)
    return listing


def _list(path: str) -> tuple[Listing, bool]:
    """Return the listing of a folder, and whether any of its entries is a link."""
    folders: list[str] = []
    files: list[str] = []
    links: set[str] = set()
    with os.scandir(path) as entries:
        for entry in entries:
            (folders if _is_folder(entry) else files).append(entry.name)
            if entry.is_symlink():
                links.add(entry.name)
    return Listing(tuple(folders), frozenset(links.intersection(folders)), tuple(files)), bool(
        links
    )


def _count(listing: Listing) -> int:
    return len(listing.folders) + len(listing.files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
