"""Words that mean a split in the names of folders and files."""

from __future__ import annotations

import re

SPLIT_FOLDER = re.compile(r"(train|val|valid|validation|test)[-_]?\d*", re.IGNORECASE)


def split_name(word: str) -> str | None:
    """Return the split that a folder or file name means (``valid``, ``val2017``: val), or None."""
    match = SPLIT_FOLDER.fullmatch(word)
    if match is None:
        return None
    name = match[1].lower()
    return "val" if name.startswith("val") else name
