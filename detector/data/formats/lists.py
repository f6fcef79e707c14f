"""Images that a list names: one in each line of a text file, or in each record of a JSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.data.formats.moved import existing_end, path_parts
from detector.data.formats.rows import listed_path


@dataclass
class Listed:
    """The path of each line, whether it exists or not, and a count of those that were amended."""

    paths: list[Path]
    counts: Counter[str] = field(default_factory=Counter)


def find_listed(texts: Sequence[str], folders: Sequence[Path]) -> Listed:
    r"""Return the images of a list, absolute or relative to one of the folders.

    Where paths lead nowhere, the same beginning is dropped from all of them, such as the ``data/``
    that some tools write before each path, and ``\`` divides folders as ``/`` does.
    """
    listed = Listed([listed_path(text, folders) for text in texts])
    missing = [index for index, path in enumerate(listed.paths) if not path.exists()]
    ends = ((texts[index], existing_end(texts[index], folders)) for index in missing)
    text, end = next(((text, end) for text, end in ends if end is not None), ("", ""))
    if not end:
        return listed
    dropped = path_parts(text)[: -len(path_parts(end))]
    name = f"listed images found by the ends of their paths, such as {end} for {text}"
    for index in missing:
        parts = path_parts(texts[index])
        path = listed_path("/".join(parts[len(dropped) :]), folders)
        if parts[: len(dropped)] == dropped and path.exists():
            listed.paths[index] = path
            listed.counts[name] += 1
    return listed
