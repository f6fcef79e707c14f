"""YOLO txt: one file per image, one row per object: class, center x, y, width, height as fractions.

A row with a class and at least three points (segmentation) is read as the box around the points.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from detector.data.formats.issues import Issue
from detector.data.formats.lists import find_listed
from detector.data.formats.names import class_number
from detector.data.formats.pairing import shared_files
from detector.data.formats.rows import (
    AnnotatedImage,
    LabelRow,
    Labels,
    SizeHW,
    read_lines,
)
from detector.utils.errors import MAX_SHOWN, DetectorError, MissingFileError, shown
from detector.utils.files import read_text

MAX_LABEL_BYTES = 16 << 20
MAX_FRACTION = 2.0
"""Largest absolute coordinate that is accepted; larger ones are pixels or noise."""

BOX_COLUMNS = 5
PREDICTION_COLUMNS = 6
MIN_POLYGON_COLUMNS = 7


def annotated_images(
    images: Sequence[Path],
    class_count: int,
    folder: Path | None = None,
    labels: Path | None = None,
) -> list[AnnotatedImage]:
    """Pair images with their label files.

    Args:
        images: image files.
        class_count: number of classes; label files use 0 … class_count − 1.
        folder: the folder that was searched for the images; None for images of a list file.
        labels: the folder of label files; None looks for it as :func:`label_path` does.

    Raises:
        DetectorError: none of the images has a label file.
    """
    files = [label_path(image, folder, labels) for image in images]
    if not any(file.is_file() for file in files):
        raise DetectorError(
            f"none of {len(files)} images has a label file; the first was looked for at {files[0]}",
            file=folder or images[0].parent,
        )
    return [
        AnnotatedImage(image, number, partial(read_labels, file, class_count=class_count), file)
        for number, (image, file) in enumerate(zip(images, files, strict=True), 1)
    ]


def images_sharing_labels(
    images: Sequence[Path], folder: Path | None = None, labels: Path | None = None
) -> dict[Path, Issue]:
    """Return an issue for each image that shares its label file with one of another folder."""
    stems = Counter(image.stem for image in images)
    namesakes = [image for image in images if stems[image.stem] > 1]
    return shared_files((image, label_path(image, folder, labels)) for image in namesakes)


def labels_without_image(images: Sequence[Path], labels: Path | None, folder: Path) -> int:
    """Count the label files of a split's label folders that belong to none of its images."""
    wanted = {label_path(image, folder, labels) for image in images}
    folders = {file.parent for file in wanted}
    found = {file for place in folders for file in place.glob("*.txt")}
    return sum(file.name != "classes.txt" for file in found - wanted)


def listed_images(list_file: Path, root: Path) -> tuple[list[Path], list[Issue], Counter[str]]:
    """Return the images of a list file, an issue for each line without one, and amended paths.

    Raises:
        DetectorError: none of the images exists.
    """
    lines = read_lines(list_file)
    listed = find_listed([text for _, text in lines], list_file, root)
    images = [path for path in listed.paths if path.exists()]
    if not images:
        line, text = lines[0]
        raise DetectorError(
            f"none of {len(lines)} listed images exists; the first, {shown(text)}, was looked for "
            f"at {listed.paths[0]}",
            file=list_file,
            line=line,
        )
    issues = [
        Issue(list_file, f"no image {shown(text)}, looked for at {path}", line, drops_image=True)
        for (line, text), path in zip(lines, listed.paths, strict=True)
        if not path.exists()
    ]
    return images, issues, listed.counts


def label_path(image: Path, folder: Path | None = None, labels: Path | None = None) -> Path:
    """Return the path of an image's label file.

    With ``labels``, the image's relative path below that folder. Else the first of these whose
    folder exists: the image's path with its last ``images`` folder replaced by ``labels``; a folder
    ``labels`` beside the image's folder; the image's folder.

    >>> label_path(Path("set/images/train/a.jpg")).as_posix()
    'set/labels/train/a.txt'
    """
    if labels is not None:
        relative = _end_of_path(image, labels) if folder is None else image.relative_to(folder)
        return labels / relative.with_suffix(".txt")
    name = f"{image.stem}.txt"
    places = [image.parent.parent / "labels" / name, image.with_name(name)]
    parts = image.parts
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        places.insert(0, Path(*parts[:last], "labels", *parts[last + 1 : -1], name))
    return next((place for place in places if place.parent.is_dir()), places[0])


def read_labels(file: Path, size_hw: SizeHW, class_count: int) -> Labels:
    """Read one label file; a missing file means an image without objects."""
    labels = Labels(file)
    try:
        text = _text(file)
    except MissingFileError:
        labels.counts["images without a label file, taken as without objects"] += 1
        return labels
    except DetectorError as error:
        labels.add_issue(error.message, drops_image=True)
        return labels
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                class_id, box_xyxy = parse_row(line, size_hw, class_count)
            except ValueError as error:
                labels.add_issue(str(error), number)
            else:
                labels.rows.append(LabelRow(class_id, box_xyxy, number))
    return labels


def parse_row(
    line: str, size_hw: SizeHW, class_count: int
) -> tuple[int, tuple[float, float, float, float]]:
    """Parse one row into its class and its box, xyxy in pixels.

    >>> parse_row("1 0.5 0.5 0.2 0.4", (100, 200), 2)
    (1, (80.0, 30.0, 120.0, 70.0))

    Raises:
        ValueError: wrong column count, not finite numbers, class out of range, not fractions.
    """
    columns = line.split()
    count = len(columns)
    if count == PREDICTION_COLUMNS:
        raise ValueError(
            "6 columns, as predictions with scores have, expected 5 (class, centre x, centre y, "
            "width, height); detect --txt writes boxes without scores"
        )
    if count != BOX_COLUMNS and (count < MIN_POLYGON_COLUMNS or count % 2 == 0):
        raise ValueError(
            f"{count} columns, expected 5 (class, centre x, centre y, width, height) "
            "or a class and at least 3 points"
        )
    numbers = [_number(column) for column in columns]
    class_id = int(numbers[0])
    if class_id != numbers[0] or not 0 <= class_id < class_count:
        raise ValueError(
            f"class {columns[0][:MAX_SHOWN]} is out of range, expected 0 to {class_count - 1}"
        )
    largest = max(numbers[1:], key=abs)
    if abs(largest) > MAX_FRACTION:
        raise ValueError(f"coordinate {largest:g}, expected fractions of the image, 0 to 1")
    height, width = size_hw
    if count == BOX_COLUMNS:
        cx, cy, w, h = numbers[1:]
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        xs, ys = numbers[1::2], numbers[2::2]
        x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    return class_id, (x1 * width, y1 * height, x2 * width, y2 * height)


def largest_class(files: Sequence[Path]) -> int:
    """Return the largest class number in label files, −1 if there is none.

    Raises:
        DetectorError: a number too large for a class; names file and line.
    """
    largest = -1
    for file in files:
        try:
            lines = _text(file).splitlines()
        except DetectorError:
            continue  # the check before training reports it
        for number, line in enumerate(lines, 1):
            first = next(iter(line.split(maxsplit=1)), "")
            if first.isdecimal():
                largest = max(largest, class_number(first, file, number))
    return largest


def _end_of_path(image: Path, labels: Path) -> Path:
    """Return the longest end of an image's path whose folder exists below ``labels``."""
    parts = Path(os.path.normpath(image)).relative_to(image.anchor).parts
    ends = (Path(*parts[start:]) for start in range(len(parts)))
    return next(
        (end for end in ends if ".." not in end.parts and (labels / end).parent.is_dir()),
        Path(image.name),
    )


def _text(file: Path) -> str:
    return read_text(file, MAX_LABEL_BYTES, "labels")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{shown(text)} is not a finite number")
    return value
