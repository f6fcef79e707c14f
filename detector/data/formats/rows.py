"""Common output of all label readers: images, each with a function that reads its label rows."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from detector.data.formats.folders import files_below
from detector.data.formats.issues import Issue
from detector.utils.errors import DetectorError, shown
from detector.utils.files import read_text
from detector.utils.opencv import IMAGE_SUFFIXES

SizeHW = tuple[int, int]
Box = tuple[float, float, float, float]
"""Corners x1, y1, x2, y2."""

MAX_LIST_BYTES = 1 << 30
UNLABELED = "images without a label file, taken as without objects"
WITHOUT_IMAGE = "label files without an image"
"""Names of the counts of such images and files."""


@dataclass(frozen=True)
class LabelRow:
    """One object as its file states it, not yet checked against its image.

    Attributes:
        class_id: index into the data set's class names, in range.
        box_xyxy: corners, pixels of the EXIF-oriented image; values are not validated.
        line: 1-based line of the label file, or None.
        crowd: COCO's ``iscrowd``.
        difficult: Pascal VOC's ``difficult``.
        area: pixels², or None if the file states none.
    """

    class_id: int
    box_xyxy: tuple[float, float, float, float]
    line: int | None = None
    crowd: bool = False
    difficult: bool = False
    area: float | None = None


@dataclass
class Labels:
    """Label rows of one image, issues of rows that could not be parsed, and counts of repairs."""

    file: Path
    rows: list[LabelRow] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add_issue(self, message: str, line: int | None = None, drops_image: bool = False) -> None:
        """Record a fatal issue of the label file."""
        self.issues.append(Issue(self.file, message, line, drops_image))


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file, and the function that reads its labels given the image's size.

    ``label_file`` is the file that was chosen by the image's path or name, which the labels of a
    COCO file or a folder of classes are not.
    """

    path: Path
    image_id: int
    read_labels: Callable[[SizeHW], Labels]
    label_file: Path | None = None


def are_fractions(start_xy: Sequence[float], others: Sequence[float]) -> bool:
    """Return True if a box that should be in pixels is one of fractions of its image.

    In pixels it would be an object of one pixel at most in the corner of the image.

    Args:
        start_xy: its left and upper side.
        others: its right and lower side, or its width and height.
    """
    return all(0 <= value < 1 for value in start_xy) and all(0 < value <= 1 for value in others)


def is_finite_number(value: object) -> TypeGuard[float]:
    """Return True for a number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max


def stated_size(height: object, width: object) -> SizeHW | None:
    """Return the image size that a JSON file states, or None; some tools write none, or zeros."""
    if not isinstance(height, int) or not isinstance(width, int) or not height or not width:
        return None
    return height, width


def parse_number(text: str, title: str = "") -> float:
    """Return the finite number that a text is.

    Args:
        text: the text.
        title: beginning of the error's message.

    >>> parse_number("1e3")
    1000.0

    Raises:
        ValueError: it is not a number, or not a finite one.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{title}{shown(text)} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{title}{shown(text)} is not a finite number")
    return value


def image_files(folder: Path) -> list[Path]:
    """Return all image files below a folder, sorted by path.

    Raises:
        DetectorError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DetectorError("no such folder of images", file=folder)
    found = sorted(files_below(folder, IMAGE_SUFFIXES))
    if not found:
        raise DetectorError("no image in this folder", file=folder)
    return found


def has_image(folder: Path) -> bool:
    """Return True if there is an image file anywhere below a folder."""
    return any(True for _ in files_below(folder, IMAGE_SUFFIXES))


def read_lines(path: Path, expected: str = "one image a line") -> list[tuple[int, str]]:
    """Return numbers and texts of a list file's lines, without empty ones and ``#`` comments.

    Raises:
        DetectorError: missing, not text, or empty.
    """
    text = read_text(path, MAX_LIST_BYTES, "a list")
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    found = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not found:
        raise DetectorError(f"is empty, expected {expected}", file=path)
    return found
