"""Files of class names that annotation tools write among images or labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from detector.data.formats.folders import visible
from detector.data.formats.rows import read_lines
from detector.utils.errors import DetectorError

PATTERNS = ("classes.txt", "_darknet.labels", "*.names")
"""Names of the files: LabelImg and Label Studio; Roboflow; darknet, whose CVAT is ``obj.names``."""


def read_class_file(root: Path, folders: Iterable[Path]) -> tuple[list[str], Path] | None:
    """Return class names and the file that they are from, or None if there is no such file.

    Args:
        root: the data set's folder.
        folders: folders of images and labels. Files are looked for in them and in all folders
            between them and the root.

    Raises:
        DetectorError: two files have different names; a file is empty or not text.
    """
    places = {root, root / "labels"}
    for folder in folders:
        places |= {folder, *folder.parents} if folder.is_relative_to(root) else {folder}
    inside = sorted(place for place in places if not root.is_relative_to(place) or place == root)
    found = [(read_names(file), file) for place in inside for file in _files(place)]
    for names, file in found:
        if names != found[0][0]:
            raise DetectorError(
                f"has other class names than {found[0][1]}, expected one of the two", file=file
            )
    return found[0] if found else None


def _files(folder: Path) -> Iterator[Path]:
    for pattern in PATTERNS:
        yield from sorted(path for path in visible(folder, pattern) if path.is_file())


def read_names(file: Path) -> list[str]:
    """Return the names of a class file.

    Raises:
        DetectorError: missing, empty or not text.
    """
    return [name for _, name in read_lines(file, "one class name a line")]
