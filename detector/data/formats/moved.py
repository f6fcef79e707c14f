"""Paths that were written on another machine, or before a folder was moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from detector.data.formats.split_words import split_name
from detector.utils.files import exists

MAX_PARTS = 100
"""Largest number of parts of an end that is looked for; looking for each end of a path takes time
that grows with the square of their number."""

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
"""Longest path that is looked for, and longest part of one: no file system allows longer ones."""


def is_path(text: object) -> TypeGuard[str]:
    """Return True for a text that is short enough for a path, whether that exists or not."""
    if not isinstance(text, str) or len(text) > MAX_PATH_BYTES:
        return False
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded) <= MAX_PATH_BYTES and all(
        len(part) <= MAX_NAME_BYTES for part in re.split(rb"[/\\]", encoded)
    )


def is_image_path(text: object) -> TypeGuard[str]:
    """Return True for a text that can be the path of an image, and not just of a folder."""
    return is_path(text) and bool(path_parts(text))


def check_path(text: str) -> str:
    """Return a path of a definition.

    Raises:
        ValueError: it is too long for a path.
    """
    if not is_path(text):
        raise ValueError(
            f"expected a path of at most {MAX_PATH_BYTES} bytes, each part {MAX_NAME_BYTES}"
        )
    return text


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
    parts = path_parts(text) if is_path(text) else []
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
