"""Words that mean a split in the names of folders and files."""

from __future__ import annotations

import re
from pathlib import Path

SPLIT_FOLDER = re.compile(r"(train|val|valid|validation|test)[-_]?\d*", re.IGNORECASE)


def split_name(word: str) -> str | None:
    """Return the split that a folder or file name means (``valid``, ``val2017``: val), or None."""
    match = SPLIT_FOLDER.fullmatch(word)
    if match is None:
        return None
    name = match[1].lower()
    return "val" if name.startswith("val") else name


def split_folder_above(root: Path, folder: Path) -> Path | None:
    """Return the outermost folder between root and ``folder`` that is named after a split."""
    between = [one for one in (folder, *folder.parents) if one.is_relative_to(root) and one != root]
    return next((one for one in reversed(between) if split_name(one.name)), None)
