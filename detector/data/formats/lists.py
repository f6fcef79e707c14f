"""Images that a list names: one in each line of a text file, or in each record of a JSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.data.formats.moved import existing_end, is_path, path_parts
from detector.utils.files import exists


@dataclass
class Listed:
    """The path of each line, and a count of those that were amended.

    A path need not exist; it is None if no file can have it, because it is too long.
    """

    paths: list[Path | None]
    counts: Counter[str] = field(default_factory=Counter)


def find_listed(texts: Sequence[str], folders: Sequence[Path]) -> Listed:
    r"""Return the images of a list, absolute or relative to one of the folders.

    Where paths lead nowhere, the same beginning is dropped from all of them, such as the ``data/``
    that some tools write before each path, and ``\`` divides folders as ``/`` does.
    """
    listed = Listed([_listed_path(text, folders) if is_path(text) else None for text in texts])
    missing = [i for i, path in enumerate(listed.paths) if path is not None and not exists(path)]
    ends = ((texts[index], existing_end(texts[index], folders)) for index in missing)
    text, end = next(((text, end) for text, end in ends if end is not None), ("", ""))
    if not end:
        return listed
    dropped = path_parts(text)[: -len(path_parts(end))]
    name = f"listed images found by the ends of their paths, such as {end} for {text}"
    for index in missing:
        parts = path_parts(texts[index])
        path = _listed_path("/".join(parts[len(dropped) :]), folders)
        if parts[: len(dropped)] == dropped and exists(path):
            listed.paths[index] = path
            listed.counts[name] += 1
    return listed


def searched(path: Path | None) -> str:
    """Return where a listed image was looked for, in the words of an error message."""
    return "too long for a path" if path is None else f"looked for at {path}"


def _listed_path(line: str, folders: Sequence[Path]) -> Path:
    """Resolve a path, absolute or relative to the first folder that has it; if none, the last."""
    paths = [folder / line for folder in folders]
    return next((path for path in paths if exists(path)), paths[-1])
