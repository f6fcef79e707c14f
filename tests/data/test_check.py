"""Check of images and labels: repairs, which are counted, and fatal issues."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.check import Box, check_image, check_images, clean
from detector.data.formats import yolo
from detector.data.formats.issues import Issue
from detector.data.formats.rows import AnnotatedImage, LabelRow, Labels
from detector.structures.samples import Sample

SIZE_HW = (20, 40)
FILE = Path("a.txt")


def cleaned(*boxes: Box) -> tuple[Sample, list[Issue], Counter[str]]:
    rows = [LabelRow(0, box, line) for line, box in enumerate(boxes, 1)]
    image = AnnotatedImage(Path("a.png"), 7, lambda size_hw: Labels(FILE))
    return clean(image, Labels(FILE, rows), SIZE_HW)


def test_no_rows() -> None:
    sample, issues, counts = cleaned()
    assert sample.boxes_xyxy.shape == (0, 4)
    assert sample.boxes_xyxy.dtype == np.float32
    assert (sample.image_id, sample.size_hw) == (7, SIZE_HW)
    assert not issues
    assert not counts


@pytest.mark.parametrize(
    ("box", "kept", "count"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), None),
        ((0, 0, 40, 20), (0, 0, 40, 20), None),
        ((-5, -6, 10, 10), (0, 0, 10, 10), "boxes clipped to their image"),
        ((30, 10, 50, 30), (30, 10, 40, 20), "boxes clipped to their image"),
        # half a pixel is the rounding of written fractions
        ((-0.5, 0, 10, 10), (0, 0, 10, 10), None),
        ((-0.6, 0, 10, 10), (0, 0, 10, 10), "boxes clipped to their image"),
        ((5, 5, 5, 9), None, "boxes of zero size dropped"),
        ((5, 5, 9, 5), None, "boxes of zero size dropped"),
        ((41, 5, 50, 9), None, "boxes outside their image dropped"),
        ((-9, 5, 0, 9), None, "boxes outside their image dropped"),
        # no width left as float32
        ((10, 5, 10 + 1e-9, 9), None, "boxes outside their image dropped"),
    ],
)
def test_repairs(box, kept, count) -> None:
    sample, issues, counts = cleaned(box)
    assert not issues
    assert sample.boxes_xyxy.tolist() == ([] if kept is None else [list(kept)])
    assert dict(counts) == ({} if count is None else {count: 1})


def test_duplicates_are_dropped_once_each() -> None:
    sample, _, counts = cleaned((1, 2, 3, 4), (5, 6, 7, 8), (1, 2, 3, 4), (1, 2, 3, 4))
    assert sample.boxes_xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert counts == {"duplicate boxes dropped": 2}


def test_equal_boxes_of_two_classes_are_two_objects() -> None:
    rows = [LabelRow(class_id, (1, 2, 3, 4)) for class_id in (0, 1)]
    image = AnnotatedImage(Path("a.png"), 1, lambda size_hw: Labels(FILE))
    sample, _, counts = clean(image, Labels(FILE, rows), SIZE_HW)
    assert sample.class_ids.tolist() == [0, 1]
    assert not counts


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((3, 2, 1, 4), "box (3, 2, 1, 4) (x1, y1, x2, y2) has a negative size"),
        ((1, 4, 3, 2), "box (1, 4, 3, 2) (x1, y1, x2, y2) has a negative size"),
        ((1, float("nan"), 3, 2), "box (1, nan, 3, 2) has a value that is not a finite number"),
        ((1, 1, float("inf"), 2), "box (1, 1, inf, 2) has a value that is not a finite number"),
    ],
)
def test_boxes_that_cannot_be_repaired(box, what: str) -> None:
    sample, issues, _ = cleaned((1, 2, 3, 4), box)
    assert len(sample.class_ids) == 1
    assert [str(issue) for issue in issues] == [f"a.txt:2: {what}"]


def test_flags_and_areas_stay_with_their_boxes() -> None:
    rows = [
        LabelRow(0, (5, 5, 5, 5)),  # dropped
        LabelRow(1, (1, 2, 3, 6), crowd=True, area=3.5),
        LabelRow(0, (-10, 0, 10, 10), difficult=True),
    ]
    image = AnnotatedImage(Path("a.png"), 1, lambda size_hw: Labels(FILE))
    sample, _, _ = clean(image, Labels(FILE, rows), SIZE_HW)
    assert sample.class_ids.tolist() == [1, 0]
    assert sample.crowd.tolist() == [True, False]
    assert sample.difficult.tolist() == [False, True]
    assert sample.areas.tolist() == [3.5, 100]  # of the clipped box: 10 · 10


coordinate = st.floats(-1e6, 1e6) | st.floats(width=32) | st.floats()


@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=5))
def test_any_rows_give_boxes_inside_the_image(boxes) -> None:
    sample, issues, counts = cleaned(*boxes)
    dropped = sum(n for what, n in counts.items() if what.endswith("dropped"))
    assert len(sample.class_ids) + len(issues) + dropped == len(boxes)
    x1, y1, x2, y2 = sample.boxes_xyxy.T
    assert np.all((x1 >= 0) & (y1 >= 0) & (x2 <= 40) & (y2 <= 20) & (x1 < x2) & (y1 < y2))


def labelled(path: Path, labels: Path) -> AnnotatedImage:
    return AnnotatedImage(path, 1, partial(yolo.read_labels, labels, class_count=2))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty, expected an image"),
        (b"not an image", "is not an image that OpenCV can decode"),
    ],
)
def test_unreadable_images_are_dropped(tmp_path: Path, data: bytes | None, what: str) -> None:
    path = tmp_path / "a.jpg"
    if data is not None:
        path.write_bytes(data)
    checked = check_image(labelled(path, tmp_path / "a.txt"))
    assert not checked.samples
    (issue,) = checked.issues
    assert (str(issue), issue.drops_image) == (f"{path}: {what}", True)


def test_a_truncated_jpeg_is_found(tmp_path: Path, make_image) -> None:
    path = make_image("a.jpg", (200, 300))
    path.write_bytes(path.read_bytes()[:-400])
    (issue,) = check_image(labelled(path, tmp_path / "a.txt")).issues
    assert issue.message == "is a truncated JPEG (its end marker is missing)"


@pytest.mark.parametrize("name", ["a\0.png", "a\ud800.png"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (issue,) = check_image(labelled(tmp_path / name, tmp_path / "a.txt")).issues
    assert issue.message == "cannot be read: no file can have that name"


def test_results_are_in_the_order_of_the_images(tmp_path: Path, make_image) -> None:
    images = []
    for number in range(12):
        path = make_image(f"{number}.png", (10 + number, 20))
        images.append(AnnotatedImage(path, number, lambda size_hw: Labels(FILE)))
    checked = check_images(images)
    assert [sample.image_id for sample in checked.samples] == list(range(12))
    assert [sample.size_hw[0] for sample in checked.samples] == list(range(10, 22))
