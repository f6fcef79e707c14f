"""CSV with a row for each box, as keras-retinanet, TensorFlow's tutorials and Roboflow write it.

Without a header the columns are ``path,x1,y1,x2,y2,class``; a row whose other columns are empty
is an image without objects. With a header they may have any order and other columns beside them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.data.formats.moved import is_image_path, path_parts
from detector.data.formats.named_boxes import ListedImage, NamedBox, class_names
from detector.data.formats.rows import parse_number
from detector.utils.errors import DetectorError, MissingFileError, shown
from detector.utils.files import read_start, read_text
from detector.utils.opencv import IMAGE_SUFFIXES

MAX_CSV_BYTES = 1 << 28
"""Largest CSV file that is read: about five million rows."""

MAX_HEADER_BYTES = 1 << 16
"""Length of the beginning of a file by which its columns are recognized."""

DELIMITERS = (",", ";", "\t")

HEADERS: dict[str, tuple[str, ...]] = {
    "image": ("filename", "file_name", "path", "image_path", "img_path", "image", "image_name"),
    "x1": ("xmin", "x_min", "x1"),
    "y1": ("ymin", "y_min", "y1"),
    "x2": ("xmax", "x_max", "x2"),
    "y2": ("ymax", "y_max", "y2"),
    "class": ("class", "class_name", "label"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
}
"""Names of each column in files with a header, compared in lower case."""

CORNERS = ("x1", "y1", "x2", "y2")
NEEDED = ("image", *CORNERS, "class")
"""Columns of a file without a header, in this order; a header names all of them."""

CLASS_FILES = ("classes.csv", "class_list.csv", "class_mapping.csv")
"""Names of files of rows ``name,id`` beside the boxes or above them."""

Row = tuple[int, list[str]]
"""Line that a row begins on, and its cells."""


@dataclass(frozen=True)
class Columns:
    """Positions of a file's columns, their number, their delimiter, and if a header names them."""

    positions: dict[str, int]
    count: int
    delimiter: str
    has_header: bool


def find_columns(file: Path) -> Columns | None:
    """Return the columns of a CSV file of boxes, or None for another file.

    Raises:
        DetectorError: two columns of the header may mean the same.
    """
    text = read_start(file, MAX_HEADER_BYTES).lstrip()
    for delimiter in DELIMITERS:
        try:
            row = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            continue  # another program's file
        cells = [cell.strip() for cell in row]
        if _is_box_row(cells):
            return Columns({name: i for i, name in enumerate(NEEDED)}, len(row), delimiter, False)
        positions = _header_positions(cells, file)
        if positions.keys() >= set(NEEDED):
            return Columns(positions, len(row), delimiter, True)
    return None


def is_of_boxes(file: Path) -> bool:
    """Return True for a CSV file of boxes, even one whose header is ambiguous."""
    try:
        return find_columns(file) is not None
    except DetectorError:
        return True


def read_file(file: Path) -> list[ListedImage]:
    """Return the images of a CSV file in the order of their first rows.

    Raises:
        DetectorError: unreadable, too large, not CSV (names the line), or without columns of boxes.
    """
    text = read_text(file, MAX_CSV_BYTES, "a CSV file of boxes")
    columns = find_columns(file)
    if columns is None:
        raise DetectorError(
            "no columns of boxes, expected rows path,x1,y1,x2,y2,class or a header with filename, "
            "xmin, ymin, xmax, ymax and class",
            file=file,
        )
    images: dict[str, ListedImage] = {}  # by path, without "./" and differences of slashes
    rows = _rows(file, text, columns.delimiter)
    if columns.has_header:
        next(rows)
    for line, cells in rows:
        if len(cells) != columns.count:
            message = f"{len(cells)} columns, expected {columns.count}"
            raise DetectorError(message, file=file, line=line)
        row = {name: cells[position].strip() for name, position in columns.positions.items()}
        if not is_image_path(row["image"]):
            message = f"{shown(row['image'])}, expected the path of an image"
            raise DetectorError(message, file=file, line=line)
        path = "/".join(path_parts(row["image"]))
        image = images.setdefault(path, ListedImage(row["image"], line))
        try:
            _add_row(image, row, line)
        except ValueError as error:
            image.issues.append((str(error), line))
    if not images:
        raise DetectorError("is empty, expected a row for each box", file=file)
    return list(images.values())


def names_of_classes(files: Sequence[Path], root: Path) -> tuple[Sequence[object], str]:
    """Return class names, and a line that says where they are from: a class file or the boxes.

    Raises:
        DetectorError: a class file is not one of rows ``name,id``, or ids leave a gap.
    """
    folders = dict.fromkeys([*(file.parent for file in files), root])
    for path in (folder / name for folder in folders for name in CLASS_FILES):
        try:
            return _read_classes(path), f"class names are from {path.name}, by their ids"
        except MissingFileError:
            continue
    listed = [image for file in files for image in read_file(file)]
    return class_names(listed), "class names are those in the CSV files, sorted"


def _is_box_row(cells: Sequence[str]) -> bool:
    """Return True for a path of an image, and four numbers and a class, or nothing."""
    if len(cells) != len(NEEDED) or Path(cells[0]).suffix.lower() not in IMAGE_SUFFIXES:
        return False
    if not any(cells[1:]):
        return True
    try:
        return len([float(cell) for cell in cells[1:5]]) == len(CORNERS)
    except ValueError:
        return False


def _header_positions(cells: Sequence[str], file: Path) -> dict[str, int]:
    """Return the positions of the columns that a header names.

    Raises:
        DetectorError: two columns may mean the same.
    """
    lower = [cell.lower() for cell in cells]
    found = {
        name: [index for index, cell in enumerate(lower) if cell in texts]
        for name, texts in HEADERS.items()
    }
    if not all(found[name] for name in NEEDED):
        return {}
    for name, indices in found.items():
        if len(indices) > 1:
            first, second = (cells[index] for index in indices[:2])
            raise DetectorError(
                f"columns {first!r} and {second!r} may both be the {name}, expected one",
                file=file,
                line=1,
            )
    return {name: indices[0] for name, indices in found.items() if indices}


def _rows(file: Path, text: str, delimiter: str) -> Iterator[Row]:
    """Yield the rows that are not blank.

    Raises:
        DetectorError: a quote that does not end, or a cell over the limit of the csv module.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DetectorError(f"CSV syntax: {error}", file=file, line=line) from error


def _add_row(image: ListedImage, row: dict[str, str], line: int) -> None:
    """Add a row's box and the image's size to an image.

    Raises:
        ValueError: a corner or a size is not a number; a box without a class.
    """
    width, height = (_side(name, row.get(name, "")) for name in ("width", "height"))
    if width and height:
        image.sizes.setdefault((height, width), line)
    corners = [row[name] for name in CORNERS]
    if not any((*corners, row["class"])):
        return
    x1, y1, x2, y2 = (parse_number(row[name], f"{name}: ") for name in CORNERS)
    if not row["class"]:
        raise ValueError("a box without a class")
    image.boxes.append(NamedBox(row["class"], (x1, y1, x2, y2), line))


def _side(name: str, text: str) -> int:
    """Return a side of the image as a row states it; 0 if it does not."""
    value = parse_number(text or "0", f"{name}: ")
    if value != int(value):
        raise ValueError(f"{name}: {shown(text)} is not a whole number")
    return int(value)


def _read_classes(file: Path) -> list[str]:
    """Return the names of a class file by their ids, which are 0, 1, 2 and so on.

    Raises:
        DetectorError: a row that is not ``name,id``; an id that is missing or appears twice.
    """
    text = read_text(file, MAX_CSV_BYTES, "a CSV file of classes")
    names: dict[str, tuple[str, int]] = {}
    for line, cells in _rows(file, text, ","):
        name, *numbers = (cell.strip() for cell in cells)
        if len(numbers) != 1 or not numbers[0].isdecimal():
            if not names and line == 1 and len(numbers) == 1:
                continue  # a header
            raise DetectorError(
                f"{shown(','.join(cells))}, expected a name and a number: name,id",
                file=file,
                line=line,
            )
        number = numbers[0].lstrip("0") or "0"
        if number in names:
            raise DetectorError(
                f"id {number} is that of {names[number][0]!r}, too", file=file, line=line
            )
        names[number] = name, line
    missing = next((i for i in range(len(names)) if str(i) not in names), None)
    if missing is not None or not names:
        raise DetectorError(f"id {missing or 0} is missing, expected 0, 1, 2, …", file=file)
    return [names[str(i)][0] for i in range(len(names))]
