"""Names of a split's images in the data set that is written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from detector.label_files.writer import is_utf8
from detector.utils.unique_names import UniqueNames

IMAGES_FOLDER = "images"
"""Folder that names leave out: readers of YOLO txt replace the last one in a path by ``labels``."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]|^\.")
"""Control characters, which end lines of lists; the other system's slash; a hidden file's dot."""


def image_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each image: its path below the folder that holds all of them.

    No two names are equal without suffix and case, since their label files would be: a second
    ``bus`` becomes ``bus_2``. Characters that readers or systems treat as special, and bytes that
    are not UTF-8, become ``_``.
    """
    absolute = [os.path.abspath(path) for path in paths]
    folders = {os.path.dirname(path) for path in absolute}
    root = os.path.commonpath(folders) if folders else ""
    names = UniqueNames()
    return [_unique(Path(os.path.relpath(path, root)), names) for path in absolute]


def renamed(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Return a line that counts the images whose file names had to change, or nothing."""
    changed = [
        (path.name, name)
        for path, name in zip(paths, names, strict=True)
        if path.name != PurePosixPath(name).name
    ]
    if not changed:
        return []
    before, after = changed[0]
    shown = before if is_utf8(before) else ascii(before)
    return [
        f"images renamed, since label files of several would be one or readers would not find "
        f"them: {len(changed)}; the first is {shown}, now {after}"
    ]


def _unique(path: Path, names: UniqueNames) -> str:
    folders = [_safe(part) for part in path.parts[:-1] if part != IMAGES_FOLDER]
    suffix = path.suffix
    stem = _safe(path.name.removesuffix(suffix))
    return names.unused("/".join([*folders, stem])) + suffix


def _safe(part: str) -> str:
    text = part if is_utf8(part) else part.encode("ascii", "replace").decode().replace("?", "_")
    return _UNSAFE.sub("_", text)
