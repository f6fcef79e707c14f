"""Paths that were written on another machine, or before a folder was moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from detector.data.formats.split_words import split_name
from detector.utils.files import exists

MAX_PARTS = 100
"""Largest number of parts of an end that is looked for; looking for each end of a path takes time
that grows with the square of their number."""


def path_parts(text: str) -> list[str]:
    r"""Return the parts of a path written on any system.

    >>> path_parts("C:\\set\\images/0.jpg")
    ['C:', 'set', 'images', '0.jpg']
    """
    return [part for part in re.split(r"[/\\]", text) if part not in ("", ".")]


def existing_ends(text: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the ends of a path that exist below one of the folders, the longest one first.

    A part that means a split is never dropped: ``x/val/images`` does not become ``images``, which
    may hold other splits.
    """
    parts = path_parts(text)
    for start, part in enumerate(parts):
        end = parts[start : start + MAX_PARTS + 1]
        is_short = len(end) <= MAX_PARTS and ".." not in end
        if is_short and any(exists(folder.joinpath(*end)) for folder in folders):
            yield "/".join(end)
        if split_name(part):
            return


def existing_end(text: str, folders: Sequence[Path]) -> str | None:
    """Return the longest of :func:`existing_ends`, or None."""
    return next(existing_ends(text, folders), None)
