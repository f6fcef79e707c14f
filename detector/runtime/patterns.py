"""Glob patterns, in which ``**`` enters each folder once, so that loops of links end."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterator

_ANY_FOLDERS = re.compile(r"(?:^|(?<=[/{sep}]))\*\*(?:[/{sep}]+|$)".format(sep=re.escape(os.sep)))


def matching(pattern: str) -> set[str]:
    """Return the paths that match a pattern, except hidden ones.

    Links to folders are followed. A folder that several links lead to is entered under one name,
    the real one if that matches too.
    """
    before, found, after = _split(pattern)
    if not found:
        return set(glob.iglob(pattern))
    return {
        path
        for start in (glob.iglob(before) if before else [""])
        for folder in _folders(start)
        for path in matching(os.path.join(glob.escape(folder), after or "*"))
    }


def _split(pattern: str) -> tuple[str, bool, str]:
    """Split a pattern at its first ``**``: what is before it, whether there is one, the rest."""
    match = _ANY_FOLDERS.search(pattern)
    if match is None:
        return pattern, False, ""
    return pattern[: match.start()], True, pattern[match.end() :]


def _folders(start: str) -> Iterator[str]:
    """Yield a folder and all folders below it, each once; real ones before those behind links."""
    real, links = deque([start]), deque[str]()
    entered: set[tuple[int, int]] = set()
    while real or links:
        folder = real.popleft() if real else links.popleft()
        status = os.stat(folder or os.curdir)
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        yield folder
        with os.scandir(folder or os.curdir) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir() and not entry.name.startswith("."):
                    path = os.path.join(folder, entry.name)
                    (links if entry.is_symlink() else real).append(path)
