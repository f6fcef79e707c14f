"""Images of a list file, of which each line names one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.data.formats.moved import existing_end, path_parts
from detector.data.formats.rows import listed_path
from detector.utils.files import exists


@dataclass
class Listed:
    """The path of each line, whether it exists or not, and a count of those that were amended."""

    paths: list[Path]
    counts: Counter[str] = field(default_factory=Counter)


def find_listed(texts: Sequence[str], list_file: Path, root: Path) -> Listed:
    """Return the images of a list, absolute or relative to the list file or to ``root``.

    Where lines lead nowhere, the same beginning is dropped from all of them, such as the ``data/``
    that some tools write before each path.
    """
    listed = Listed([listed_path(text, list_file.parent, root) for text in texts])
    missing = [index for index, path in enumerate(listed.paths) if not exists(path)]
    folders = (list_file.parent, root)
    ends = ((texts[index], existing_end(texts[index], folders)) for index in missing)
    text, end = next(((text, end) for text, end in ends if end is not None), ("", ""))
    if not end:
        return listed
    dropped = path_parts(text)[: -len(path_parts(end))]
    name = f"listed images found by the ends of their paths, such as {end} for {text}"
    for index in missing:
        parts = path_parts(texts[index])
        path = listed_path("/".join(parts[len(dropped) :]), list_file.parent, root)
        if parts[: len(dropped)] == dropped and exists(path):
            listed.paths[index] = path
            listed.counts[name] += 1
    return listed
