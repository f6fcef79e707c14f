"""Paths of a definition file, which may lead nowhere because the data have been moved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detector.data.formats.folders import visible
from detector.data.formats.moved import check_path, existing_end, existing_ends
from detector.utils.errors import first_names, shown
from detector.utils.files import exists, is_folder
from detector.utils.yaml_file import YamlFile, YamlKey

MAX_NAMED = 8
"""Largest number of entries of a folder that a message names."""


def find_root(file: Path, path: str, splits: Any) -> tuple[Path, str | None]:
    """Return the folder that a definition's ``path`` means, and a line if it is not that folder.

    Of a path that leads nowhere, the longest end is taken that exists beside the file and holds a
    split; the last to be tried is the file's own folder.

    Args:
        file: the definition file.
        path: its ``path``.
        splits: the values of its splits.
    """
    written = file.parent / path
    if is_folder(written):
        return written, None
    for end in (*existing_ends(path, [file.parent]), "."):
        root = file.parent / end
        if any(existing_end(text, [root]) for text in _texts(splits)):
            return root, f"path: {written} does not exist, read as {root}"
    return written, None


class WrittenPaths:
    """The paths of a definition's splits, found by their ends where they lead nowhere.

    Args:
        file: the definition file.
        root: folder that its paths are relative to.

    Attributes:
        notes: a line for each path that was not read as it is written.
    """

    def __init__(self, file: YamlFile, root: Path) -> None:
        self.file = file
        self.root = root
        self.notes: list[str] = []
        self._written: dict[str, str] = {}
        self._amended: set[str] = set()

    def find(self, value: str, *keys: YamlKey) -> str:
        """Return the path to read in place of a written one; that itself if nothing is found.

        Raises:
            DetectorError: two different paths may both be the same folder or file; a path that is
                too long.
        """
        try:
            check_path(value)
        except ValueError as error:
            raise self.file.error(f"{error}, found {shown(value)}", *keys) from error
        is_there = exists(self.root / value)
        end = value if is_there else existing_end(value, [self.root])
        if end is None:
            return value
        if not is_there:
            self._amended.add(value)
            title = ".".join(str(key) for key in keys)
            self.notes.append(f"{title}: {self.root / value} does not exist, read as {end}")
        other = self._written.setdefault(os.path.normpath(self.root / end), value)
        if other != value and self._amended & {value, other}:
            message = (
                f"{value} and {other} may both be {self.root / end}, expected paths that exist"
            )
            raise self.file.error(message, *keys)
        return end


def contents(folder: Path) -> str:
    """Return what a folder holds, folders first, in the words of an error message."""
    found = sorted((not path.is_dir(), path.name) for path in visible(folder, "*"))
    names = [name if is_file else f"{name}/" for is_file, name in found]
    return f"{folder} holds {first_names(names, MAX_NAMED) or 'nothing'}"


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a split's value: a path, a mapping, or a list of those."""
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
