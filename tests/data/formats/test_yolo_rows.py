"""Rows of YOLO txt: polygons and keypoints are told apart by the set as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.formats import yolo_rows
from detector.data.formats.yolo_rows import RowJudge, parse_row
from detector.utils.errors import DetectorError

FILE = Path("labels/a.txt")
SIZE_HW = (100, 100)
COLUMNS = "columns, expected 5 (class, centre x, centre y, width, height)"


def judge(*rows: str) -> RowJudge:
    found = RowJudge()
    found.add(FILE, rows)
    return found


def text(values: np.ndarray) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def polygon(rng: np.random.Generator, points: int) -> str:
    """A convex polygon, anywhere in the image."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(0.02, 0.15)
    center = rng.uniform(radius, 1 - radius, 2)
    outline = center + radius * np.stack((np.cos(angles), np.sin(angles)), 1)
    return f"0 {text(outline.ravel())}"


def face(rng: np.random.Generator, keypoints: int, size: int) -> str:
    """A small box and points in it; every fifth point is not set, as -1 or by its visibility."""
    side = rng.uniform(0.03, 0.15, 2)
    center = rng.uniform(side / 2, 1 - side / 2)
    points = center + side * rng.uniform(-0.5, 0.5, (keypoints, 2))
    points[rng.random(keypoints) < 0.2] = -1 if size == 2 else 0
    if size == 3:
        points = np.column_stack(
            (points, np.where(points[:, 0] == 0, 0, rng.integers(1, 3, keypoints)))
        )
    return f"0 {text(np.concatenate((center, side)))} {text(points.ravel())}"


@pytest.mark.parametrize("points", [3, 4, 5, 17, None])
def test_polygons(rng: np.random.Generator, points: int | None) -> None:
    """Of one number of points, as rotated boxes have it, and of many."""
    rows = [polygon(rng, points or int(rng.integers(3, 40))) for _ in range(200)]
    found = judge("0 .5 .5 .2 .2", *rows)
    assert found.keypoint_columns() is None
    assert found.describe(None) == [
        "label rows: 1 boxes, 200 polygons (read as the box around each), "
        "0 boxes with keypoints (the keypoints are ignored)"
    ]


@pytest.mark.parametrize("keypoints", [1, 2, 5, 17, 68])
@pytest.mark.parametrize("size", [2, 3])
def test_keypoints(rng: np.random.Generator, keypoints: int, size: int) -> None:
    found = judge("0 .5 .5 .2 .2", *(face(rng, keypoints, size) for _ in range(200)))
    columns = 5 + keypoints * size
    assert found.keypoint_columns() == columns
    assert found.describe(columns) == [
        "label rows: 1 boxes, 0 polygons (read as the box around each), "
        "200 boxes with keypoints (the keypoints are ignored)"
    ]


def test_plain_boxes_have_nothing_to_tell() -> None:
    for rows in ((), ("0 .5 .5 .2 .2",), ("0 .5", "x", "0 .1 .1 .2 .2 .3 .3 nan", "0 1 2 3 4 5")):
        found = judge(*rows)
        assert found.keypoint_columns() is None
        assert found.describe(None) == []


# Box (40, 40, 60, 60) of an image of 100 pixels; landmarks that are not visible are -1.
LANDMARKS = "0 .5 .5 .2 .2 .45 .45 .55 .45 .5 .5 .46 .55 .54 .55"
HIDDEN = "0 .5 .5 .2 .2" + " -1" * 10
ONE_POINT = "0 .5 .5 .2 .2 .5 .5"
# A triangle that is a box with a point, too: center (.4, .4), size (.5, .4), point (.45, .3).
EITHER = "0 .4 .4 .5 .4 .45 .3"


@pytest.mark.parametrize("rows", [(LANDMARKS,), (LANDMARKS, HIDDEN), (ONE_POINT,)])
def test_boxes_with_landmarks(rows: tuple[str, ...]) -> None:
    columns = judge(*rows).keypoint_columns()
    assert columns == len(rows[0].split())
    for row in rows:
        box = parse_row(row, SIZE_HW, 1, columns)[1]
        assert box == pytest.approx((40, 40, 60, 60))


@pytest.mark.parametrize(
    ("rows", "counts", "shapes"),
    [
        ((EITHER,), "7 columns", "[1, 2]"),
        (("0 .5 .5 .2 .2", EITHER, EITHER), "7 columns", "[1, 2]"),
        # No set has keypoints of two numbers, and as polygons the second point is far away.
        ((LANDMARKS, ONE_POINT), "7, 15 columns", "[5, 2]"),
        # Four points, or two of three values: over the border as polygons, no box as keypoints.
        (("0 .9 .9 .3 .2 .9 1.2 .8 .8 .7 .7",), "11 columns", "[3, 2] or [2, 3]"),
    ],
)
def test_doubt(rows: tuple[str, ...], counts: str, shapes: str) -> None:
    with pytest.raises(DetectorError) as caught:
        judge(*rows).keypoint_columns()
    line = next(n for n, row in enumerate(rows, 1) if len(row.split()) > 5)
    assert str(caught.value) == (
        f"labels/a.txt:{line}: {len(rows[line - 1].split())} columns may be a polygon or a box "
        f"with keypoints, and the split's rows (of {counts}) do not tell; expected "
        f"'polygons: true' or 'kpt_shape: {shapes}' in the definition (data.yaml)"
    )


def test_an_even_number_of_columns_is_left_to_the_check() -> None:
    found = judge("0 .1 .1 .2 .2 .3 .3 .4")  # a visibility of .4: not keypoints
    assert found.keypoint_columns() is None
    assert found.describe(None) == []


def test_rows_that_are_kept_for_the_judgement_are_limited(monkeypatch) -> None:
    monkeypatch.setattr(yolo_rows, "MAX_JUDGED_NUMBERS", 10)
    found = judge(*[LANDMARKS] * 5)
    assert sum(map(len, found.rows.values())) == 1  # the first one, whatever its length
    assert found.counts[15] == 5


@pytest.mark.parametrize(
    ("row", "keypoint_columns", "message"),
    [
        (ONE_POINT, 15, f"7 {COLUMNS} or 15 (these and keypoints)"),
        (f"{LANDMARKS} 1", 15, f"16 {COLUMNS} or 15 (these and keypoints)"),
        (f"{ONE_POINT[:-2]}x", 7, "'x' is not a number"),
        ("0 50 .5 .2 .2 .5 .5", 7, "coordinate 50, expected fractions of the image, 0 to 1"),
        (HIDDEN, None, "coordinate -1, expected fractions of the image, 0 to 1"),
        ("0 .1 .1 .2 .1 1.02 .2", None, "coordinate 1.02, expected fractions of the image, 0 to 1"),
    ],
)
def test_bad_rows(row: str, keypoint_columns: int | None, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_row(row, SIZE_HW, 1, keypoint_columns)
    assert str(caught.value) == message


def test_a_polygon_may_reach_a_little_over_the_border() -> None:
    # x from .1 to 1.005 of 100, y from .1 to .2
    box = parse_row("0 .1 .1 .2 .1 1.005 .2", SIZE_HW, 1)[1]
    assert box == pytest.approx((10, 10, 100.5, 20))
