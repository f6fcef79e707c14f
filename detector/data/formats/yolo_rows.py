"""Rows of YOLO txt: boxes, polygons, or boxes with keypoints; which of them a set has.

A row of 5 columns is a class and a box. A longer row is a class and a polygon (segmentation), or a
class, a box and keypoints (pose, faces); the number of its columns does not tell which. A set has
polygons or keypoints, never both, so all of its rows are judged together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data.formats.rows import SizeHW, parse_number
from detector.utils.errors import MAX_SHOWN, DetectorError

MAX_FRACTION = 2.0
"""Largest absolute coordinate of a box that is accepted; larger ones are pixels or noise."""

BOX_COLUMNS = 5
PREDICTION_COLUMNS = 6
MIN_POLYGON_COLUMNS = 7

BORDER_SLACK = 0.01
"""Largest overhang of polygons beyond the image, a fraction of its side."""

KEYPOINT_MARGIN = 0.25
"""Largest distance of most keypoints from their box, a fraction of the box's side."""

VISIBILITIES = (0.0, 1.0, 2.0)
"""Third values of keypoints: not labelled, hidden, visible."""

MAX_JUDGED_NUMBERS = 2_000_000
"""Number of values in the longer rows of a split, the first ones, that decide what all rows are."""

MOST_ROWS = 0.9
"""Smallest share of rows that must fit what the set is taken for."""

HALF_OF_ROWS = 0.5
"""Largest share of rows that may also fit what the set is not taken for."""

Rows = NDArray[np.float64]
Flags = NDArray[np.bool_]


def parse_row(
    line: str, size_hw: SizeHW, class_count: int, keypoint_columns: int | None = None
) -> tuple[int, tuple[float, float, float, float]]:
    """Parse one row into its class and its box, xyxy in pixels.

    Args:
        line: the row.
        size_hw: size of the image, pixels.
        class_count: number of classes.
        keypoint_columns: number of columns of a box with keypoints; None for polygons.

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
    is_box = count in (BOX_COLUMNS, keypoint_columns)
    if not is_box and (keypoint_columns is not None or not _may_be_polygon(count)):
        others = (
            "or a class and at least 3 points"
            if keypoint_columns is None
            else f"or {keypoint_columns} (these and keypoints)"
        )
        raise ValueError(
            f"{count} columns, expected 5 (class, centre x, centre y, width, height) {others}"
        )
    numbers = [parse_number(column) for column in columns]
    class_id = int(numbers[0])
    if class_id != numbers[0] or not 0 <= class_id < class_count:
        raise ValueError(
            f"class {columns[0][:MAX_SHOWN]} is out of range, expected 0 to {class_count - 1}"
        )
    _check_fractions(numbers[1:BOX_COLUMNS] if is_box else numbers[1:], is_box)
    height, width = size_hw
    if is_box:
        cx, cy, w, h = numbers[1:BOX_COLUMNS]
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        xs, ys = numbers[1::2], numbers[2::2]
        x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    return class_id, (x1 * width, y1 * height, x2 * width, y2 * height)


@dataclass
class RowJudge:
    """Collector of a split's rows that says what the longer ones are.

    Attributes:
        counts: number of rows by number of columns.
        rows: some longer rows without their class, by number of columns.
        first: file and line of the first row of each number of columns.
        numbers: number of values in ``rows``.
    """

    counts: Counter[int] = field(default_factory=Counter)
    rows: dict[int, list[Rows]] = field(default_factory=dict)
    first: dict[int, tuple[Path, int]] = field(default_factory=dict)
    numbers: int = 0

    def add(self, file: Path, lines: Iterable[str]) -> None:
        """Add the rows of a label file; those that cannot be read are left to the check."""
        for number, line in enumerate(lines, 1):
            columns = line.split()
            count = len(columns)
            if count == BOX_COLUMNS:
                self.counts[count] += 1
            elif _may_be_polygon(count) or _has_visibilities(count):
                self._add_longer(file, number, columns)

    def _add_longer(self, file: Path, number: int, columns: list[str]) -> None:
        try:
            values = np.array(columns[1:], np.float64)
        except ValueError:
            return
        if np.isfinite(values).all():
            count = len(columns)
            self.counts[count] += 1
            self.first.setdefault(count, (file, number))
            if self.numbers + len(values) <= MAX_JUDGED_NUMBERS or not self.rows:
                self.rows.setdefault(count, []).append(values)
                self.numbers += len(values)

    def keypoint_columns(self) -> int | None:
        """Return the number of columns of boxes with keypoints, or None if there are polygons.

        Polygons have points in the image, the second one near the others; their numbers of points
        differ, or else many of them make no box with keypoints. Keypoints have one number of
        columns, lie in or near a box in the image, and most rows make no such polygon.

        Raises:
            DetectorError: the rows may be either; names the first of them.
        """
        if not self.rows:
            return None
        tables = [np.stack(rows) for rows in self.rows.values()]
        as_polygons = float(np.concatenate([_fits_polygon(table) for table in tables]).mean())
        as_keypoints = float(np.concatenate([_fits_keypoints(table) for table in tables]).mean())
        is_uniform = len(self.first) == 1
        if as_polygons >= MOST_ROWS and (not is_uniform or as_keypoints <= HALF_OF_ROWS):
            return None
        if as_keypoints >= MOST_ROWS and is_uniform and as_polygons <= HALF_OF_ROWS:
            return next(iter(self.first))
        if not any(map(_may_be_polygon, self.first)):
            return None  # neither: the check reports each row
        raise self._doubt()

    def describe(self, keypoint_columns: int | None) -> list[str]:
        """Return a line that counts the kinds of rows, or nothing if all are plain boxes."""
        boxes = self.counts[BOX_COLUMNS]
        keypoints = 0 if keypoint_columns is None else self.counts[keypoint_columns]
        polygons = sum(
            count
            for columns, count in self.counts.items()
            if keypoint_columns is None and _may_be_polygon(columns)
        )
        if not keypoints and not polygons:
            return []
        return [
            f"label rows: {boxes} boxes, {polygons} polygons (read as the box around each), "
            f"{keypoints} boxes with keypoints (the keypoints are ignored)"
        ]

    def _doubt(self) -> DetectorError:
        columns = next(count for count in self.first if _may_be_polygon(count))
        file, line = self.first[columns]
        all_counts = ", ".join(map(str, sorted(self.first)))
        values = columns - BOX_COLUMNS
        shapes = [f"[{values // size}, {size}]" for size in (2, 3) if values % size == 0]
        return DetectorError(
            f"{columns} columns may be a polygon or a box with keypoints, and the split's rows "
            f"(of {all_counts} columns) do not tell; expected 'polygons: true' or "
            f"'kpt_shape: {' or '.join(shapes)}' in the definition (data.yaml)",
            file=file,
            line=line,
        )


def _may_be_polygon(columns: int) -> bool:
    return columns >= MIN_POLYGON_COLUMNS and columns % 2 == 1


def _has_visibilities(columns: int) -> bool:
    """Return True if a row may be a box with keypoints of three values each."""
    return columns > BOX_COLUMNS and (columns - BOX_COLUMNS) % 3 == 0


def _fits_polygon(rows: Rows) -> Flags:
    """Return for each row, (m, columns − 1), whether it looks like a polygon.

    Its points are in the image, and the second one, which would be a box's width and height, is no
    further from the bounding box of the others than the longer side of that box.
    """
    if rows.shape[1] % 2:
        return np.zeros(len(rows), np.bool_)
    points = rows.reshape(len(rows), -1, 2)
    others = np.delete(points, 1, axis=1)
    low, high = others.min(1), others.max(1)
    reach = (high - low).max(1, keepdims=True)
    second = points[:, 1]
    is_near = ((second >= low - reach) & (second <= high + reach)).all(1)
    is_inside = ((rows >= -BORDER_SLACK) & (rows <= 1 + BORDER_SLACK)).all(1)
    return np.asarray(is_inside & is_near)


def _fits_keypoints(rows: Rows) -> Flags:
    """Return for each row, (m, columns − 1), whether it looks like a box with keypoints."""
    centers, sizes = rows[:, :2], rows[:, 2:4]
    is_box = (
        (sizes > 0)
        & (centers - sizes / 2 >= -BORDER_SLACK)
        & (centers + sizes / 2 <= 1 + BORDER_SLACK)
    ).all(1)
    reach = sizes * (0.5 + KEYPOINT_MARGIN)
    values = rows[:, BOX_COLUMNS - 1 :]
    fits = np.zeros(len(rows), np.bool_)
    for size in (2, 3):
        if values.shape[1] % size == 0:
            keypoints = values.reshape(len(rows), -1, size)
            unset = (keypoints[..., :2] <= 0).all(2)
            if size == 3:
                unset |= keypoints[..., 2] == 0
            distances = np.abs(keypoints[..., :2] - centers[:, None])
            fit = np.asarray(distances <= reach[:, None]).all(axis=2) | unset
            if size == 3:
                fit &= np.isin(keypoints[..., 2], VISIBILITIES)
            fits |= np.asarray(fit).all(axis=1)
    return np.asarray(is_box & fits)


def _check_fractions(numbers: list[float], is_box: bool) -> None:
    """Raise ValueError for coordinates that are no fractions of the image."""
    low, high = (-MAX_FRACTION, MAX_FRACTION) if is_box else (-BORDER_SLACK, 1 + BORDER_SLACK)
    largest = max(numbers, key=lambda value: max(value - high, low - value))
    if not low <= largest <= high:
        raise ValueError(f"coordinate {largest:g}, expected fractions of the image, 0 to 1")
