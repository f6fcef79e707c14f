"""Words that mean a split in the names of folders and files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

SPLIT_FOLDER = re.compile(r"(train|val|valid|validation|test)[-_]?\d*", re.IGNORECASE)


def split_name(word: str) -> str | None:
    """Return the split that a folder or file name means (``valid``, ``val2017``: val), or None."""
    match = SPLIT_FOLDER.fullmatch(word)
    if match is None:
        return None
    name = match[1].lower()
    return "val" if name.startswith("val") else name


def words_of(root: Path, file: Path) -> tuple[str, ...]:
    """Return the words of a file's name and folders that may mean its split, the surest one first.

    >>> words_of(Path("set"), Path("set/a/instances_cats-val.json"))
    ('cats-val', 'cats', 'val', 'a')
    """
    stem = file.stem.removeprefix("instances_")
    folders = file.relative_to(root).parts[-2::-1]
    return stem, *re.split(r"[\W_]+", stem), *folders


def split_meant(words: Iterable[str]) -> str | None:
    """Return the split that the first of some words with a meaning means, or None."""
    return next((name for word in words if (name := split_name(word))), None)


def split_folder_above(root: Path, folder: Path) -> Path | None:
    """Return the outermost folder between root and ``folder`` that is named after a split."""
    between = [one for one in (folder, *folder.parents) if one.is_relative_to(root) and one != root]
    return next((one for one in reversed(between) if split_name(one.name)), None)
