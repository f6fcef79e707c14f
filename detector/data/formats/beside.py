"""YOLO txt files beside their images, as LabelImg and darknet write them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from detector.data.formats.folders import files_below
from detector.data.formats.rows import read_lines
from detector.data.formats.yolo_rows import BOX_COLUMNS
from detector.utils.errors import DetectorError
from detector.utils.opencv import IMAGE_SUFFIXES


def folders_of_pairs(root: Path) -> list[Path]:
    """Return the folders that hold images with label files beside them, sorted.

    At least one of all the files must have a row of numbers: others may be captions.
    """
    texts = {text.with_suffix("") for text in files_below(root, {".txt"})}
    images = {image.with_suffix("") for image in files_below(root, IMAGE_SUFFIXES)}
    pairs = sorted(texts & images)
    if not any(has_row(Path(f"{path}.txt")) for path in pairs):
        return []
    return sorted({path.parent for path in pairs})


def common_folder(folders: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all of the folders."""
    return Path(os.path.commonpath(list(folders)))


def has_row(text: Path) -> bool:
    """Return True if the first row of a text file is a class with at least four numbers."""
    try:
        columns = read_lines(text)[0][1].split()
        return len([float(column) for column in columns]) >= BOX_COLUMNS
    except (DetectorError, ValueError):
        return False
