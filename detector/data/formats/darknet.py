"""Darknet's ``obj.data``: a file that names the lists of a data set's images and its class file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detector.data.formats.folders import visible
from detector.data.formats.moved import existing_end
from detector.data.formats.rows import read_lines
from detector.data.formats.splits import Split
from detector.data.formats.written_paths import contents
from detector.utils.errors import DetectorError, shown

NAMES = "names"
KEYS = {"train": "train", "valid": "val", "val": "val", "test": "test", NAMES: NAMES}
"""Keys that name a list of images, each with the split that it means, or the class names."""


@dataclass(frozen=True)
class DarknetFile:
    """The splits of a ``*.data`` file, and the path of the file of class names that it states."""

    splits: dict[str, tuple[Split, ...]]
    class_file: str | None


def read_darknet(root: Path) -> DarknetFile | None:
    """Return the ``*.data`` file of a folder or of one of its subfolders, or None without lists.

    What it names is found by the ends of the paths, since darknet's are relative to its own folder.

    Raises:
        DetectorError: several files name lists; a list or the file of class names does not exist
            (names file and line).
    """
    found = {file: data for file in _data_files(root) if (data := _read(file, root))}
    if len(found) > 1:
        first, second, *_ = found
        raise DetectorError(f"{first} and {second} both name lists of images", file=root)
    return next(iter(found.values()), None)


def _data_files(root: Path) -> Iterator[Path]:
    for pattern in ("*.data", "*/*.data"):
        yield from sorted(path for path in visible(root, pattern) if path.is_file())


def _read(file: Path, root: Path) -> DarknetFile | None:
    """Return what a file of ``key = value`` lines names, or None for another program's file."""
    try:
        lines = read_lines(file, "key = value")
    except DetectorError:
        return None
    stated: dict[str, tuple[int, str]] = {}
    for line, text in lines:
        key, _, value = (part.strip() for part in text.partition("="))
        if key in KEYS and value:
            stated[key] = (line, value)
    if stated.keys() <= {NAMES}:
        return None
    paths = {KEYS[key]: _existing(file, root, key, *place) for key, place in stated.items()}
    class_file = paths.pop(NAMES, None)
    return DarknetFile({n: (Split(list_file=path),) for n, path in paths.items()}, class_file)


def _existing(file: Path, root: Path, key: str, line: int, value: str) -> str:
    """Return the path of a list, or of the class names, below the root.

    Raises:
        DetectorError: there is none (names file and line).
    """
    end = existing_end(value, [root])
    if end is None or not (root / end).is_file():
        kind, content = ("file", "class names") if key == NAMES else ("list", "images")
        raise DetectorError(
            f"{key}: no {kind} {shown(value)}, expected one of {content}; {contents(file.parent)}",
            file=file,
            line=line,
        )
    return end
