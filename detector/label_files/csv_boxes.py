"""CSV with a header and a row for each box, as TensorFlow's tutorials and Roboflow write it.

An image without objects has one row, whose class and corners are empty. Cells are written as they
are: a class name such as ``=1+1`` is a formula to a spreadsheet program that opens the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from detector.label_files.labeled_image import LabeledImage, decimal
from detector.label_files.voc import CORNERS, space_issue
from detector.label_files.writer import FileWriter, check_image_name

HEADER = ("filename", "width", "height", "class", *CORNERS)


class CsvWriter(FileWriter):
    """Writer of CSV."""

    title = "CSV"

    @classmethod
    def name_issue(cls, name: str) -> str | None:
        """Return what CSV cannot hold: spaces at the ends, and null characters."""
        null = "has a null character" if "\0" in name else None
        return super().name_issue(name) or null or space_issue(name)

    def head(self) -> str:
        """Return the header."""
        return _row(HEADER)

    def write(self, image: LabeledImage) -> None:
        """Write the rows of an image."""
        height, width = image.size_hw
        start = (check_image_name(image.name, self.title), width, height)
        boxes = zip(image.corners().tolist(), image.class_ids.tolist(), strict=True)
        rows = [(*start, self.names[class_id], *map(decimal, box)) for box, class_id in boxes]
        empty = (*start, *[""] * (len(HEADER) - len(start)))
        self.put("".join(map(_row, rows or [empty])))


def _row(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
