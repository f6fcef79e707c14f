"""Darknet's ``obj.data``: a file that names the lists of a data set's images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detector.data.formats.folders import visible
from detector.data.formats.moved import existing_end
from detector.data.formats.rows import read_lines
from detector.data.formats.splits import Split
from detector.data.formats.written_paths import contents
from detector.utils.errors import DetectorError, shown

SPLIT_KEYS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


def darknet_splits(root: Path) -> dict[str, tuple[Split, ...]]:
    """Return the lists named by the ``*.data`` file of a folder or of one of its subfolders.

    The lists are found by the ends of their paths, since darknet's are relative to its own folder.

    Raises:
        DetectorError: several files name lists; a list does not exist (names file and line).
    """
    found = {file: splits for file in _data_files(root) if (splits := _splits(file, root))}
    if len(found) > 1:
        first, second, *_ = found
        raise DetectorError(f"{first} and {second} both name lists of images", file=root)
    return next(iter(found.values()), {})


def _data_files(root: Path) -> Iterator[Path]:
    for pattern in ("*.data", "*/*.data"):
        yield from sorted(path for path in visible(root, pattern) if path.is_file())


def _splits(file: Path, root: Path) -> dict[str, tuple[Split, ...]]:
    """Return the splits of a file of ``key = value`` lines."""
    splits: dict[str, tuple[Split, ...]] = {}
    try:
        lines = read_lines(file, "key = value")
    except DetectorError:
        return {}  # another program's file
    for number, line in lines:
        key, _, value = (part.strip() for part in line.partition("="))
        if key not in SPLIT_KEYS or not value:
            continue
        end = existing_end(value, [root])
        if end is None or not (root / end).is_file():
            raise DetectorError(
                f"{key}: no list {shown(value)}, expected one of images; {contents(file.parent)}",
                file=file,
                line=number,
            )
        splits[SPLIT_KEYS[key]] = (Split(list_file=end),)
    return splits
