"""YOLO txt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.formats.yolo import (
    MAX_LABEL_BYTES,
    images_sharing_labels,
    label_path,
    labels_without_image,
    largest_class,
    listed_images,
    read_labels,
)
from detector.data.formats.yolo_rows import parse_row
from detector.utils.errors import DetectorError

SIZE_HW = (100, 200)


@pytest.mark.parametrize(
    ("line", "class_id", "box"),
    [
        # x: 200 · (0.5 ± 0.1) = 80, 120; y: 100 · (0.5 ± 0.2) = 30, 70
        ("1 0.5 0.5 0.2 0.4", 1, (80, 30, 120, 70)),
        ("0.0\t0.5 0.5  1 1", 0, (0, 0, 200, 100)),
        # over the left border: 200 · (0.05 ± 0.1) = −10, 30
        ("0 0.05 0.5 0.2 0.4", 0, (-10, 30, 30, 70)),
        # a polygon: x from 0.1 to 0.4 of 200, y from 0.2 to 0.9 of 100
        ("2 0.1 0.2 0.4 0.3 0.2 0.9", 2, (20, 20, 80, 90)),
        ("0 0.5 0.5 0 0", 0, (100, 50, 100, 50)),
    ],
)
def test_rows(line: str, class_id: int, box: tuple[float, ...]) -> None:
    found_id, found_box = parse_row(line, SIZE_HW, 3)
    assert found_id == class_id
    assert found_box == pytest.approx(box)


PREDICTION = (
    "6 columns, as predictions with scores have, expected 5 (class, centre x, centre y, width, "
    "height); detect --txt writes boxes without scores"
)
COLUMNS = "expected 5 (class, centre x, centre y, width, height) or a class and at least 3 points"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", f"4 columns, {COLUMNS}"),
        ("0 0.5 0.5 0.2 0.2 0.9", PREDICTION),
        ("0 .1 .1 .2 .2 .3 .3 .4", f"8 columns, {COLUMNS}"),
        ("0 0.5 nan 0.2 0.2", "'nan' is not a finite number"),
        ("0 0.5 0.5 inf 0.2", "'inf' is not a finite number"),
        ("cat 0.5 0.5 0.2 0.2", "'cat' is not a number"),
        ("0 0,5 0.5 0.2 0.2", "'0,5' is not a number"),
        ("3 0.5 0.5 0.2 0.2", "class 3 is out of range, expected 0 to 2"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is out of range, expected 0 to 2"),
        ("1.5 0.5 0.5 0.2 0.2", "class 1.5 is out of range, expected 0 to 2"),
        (f"{'9' * 5000} 0.5 0.5 0.2 0.2", f"'{'9' * 56}... is not a finite number"),
        (f"{'9' * 300} 0.5 0.5 0.2 0.2", f"class {'9' * 60} is out of range, expected 0 to 2"),
        ("0 80 30 120 70", "coordinate 120, expected fractions of the image, 0 to 1"),
    ],
)
def test_bad_rows(line: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_row(line, SIZE_HW, 3)
    assert str(caught.value) == message


@given(st.text())
def test_any_row_is_a_box_or_a_value_error(line: str) -> None:
    try:
        class_id, box = parse_row(line, SIZE_HW, 3)
    except ValueError:
        return
    assert 0 <= class_id < 3
    assert len(box) == 4


def test_issues_have_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("0 .5 .5 .1 .1\n\n7 .5 .5 .1 .1\n1 .5 .5 .1 .1\n0 .5\n")
    labels = read_labels(file, SIZE_HW, class_count=2)
    assert [(row.class_id, row.line) for row in labels.rows] == [(0, 1), (1, 4)]
    assert [issue.line for issue in labels.issues] == [3, 5]
    assert not any(issue.drops_image for issue in labels.issues)
    assert str(labels.issues[0]) == f"{file}:3: class 7 is out of range, expected 0 to 1"


def test_a_missing_file_is_an_image_without_objects(tmp_path: Path) -> None:
    labels = read_labels(tmp_path / "none.txt", SIZE_HW, class_count=2)
    assert not labels.rows
    assert not labels.issues
    assert labels.counts == {"images without a label file, taken as without objects": 1}


def test_a_file_that_is_not_text_drops_its_image(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xff\xfe\x00")
    (issue,) = read_labels(file, SIZE_HW, class_count=2).issues
    assert issue.drops_image
    assert str(issue) == f"{file}: is not UTF-8 text"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_an_endless_file_drops_its_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("/dev/zero")
    for file in (tmp_path / "a.txt", tmp_path / "b.txt"):
        (issue,) = read_labels(file, SIZE_HW, class_count=2).issues
        assert issue.drops_image
        assert str(issue) == f"{file}: is not a regular file, expected labels"
        assert largest_class([file]) == -1


def test_a_large_file_drops_its_image(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with file.open("wb") as opened:
        opened.truncate(8 << 30)
    (issue,) = read_labels(file, SIZE_HW, class_count=2).issues
    assert str(issue) == f"{file}: has more than {MAX_LABEL_BYTES} bytes"


def test_label_paths(tmp_path: Path) -> None:
    for folder in ("images/train", "labels/train", "pics", "flat"):
        (tmp_path / folder).mkdir(parents=True)
    assert label_path(tmp_path / "images/train/a.b.jpg") == tmp_path / "labels/train/a.b.txt"
    # no "images" in the path: the sibling "labels"
    assert label_path(tmp_path / "pics/a.jpg") == tmp_path / "labels/a.txt"
    (tmp_path / "alone/deep").mkdir(parents=True)
    # neither: beside the image
    assert label_path(tmp_path / "alone/deep/a.jpg") == tmp_path / "alone/deep/a.txt"
    # an "images" further up that has no labels beside it does not mislead
    (tmp_path / "images/other/set").mkdir(parents=True)
    image = tmp_path / "images/other/set/a.jpg"
    assert label_path(image) == tmp_path / "images/other/set/a.txt"
    marks = label_path(tmp_path / "pics/x/a.jpg", tmp_path / "pics", tmp_path / "marks")
    assert marks == tmp_path / "marks/x/a.txt"


def test_label_paths_of_listed_images_keep_their_folders(tmp_path: Path) -> None:
    (tmp_path / "marks/x").mkdir(parents=True)
    marks = tmp_path / "marks"
    for image, label in (("x/0.jpg", "x/0.txt"), ("x/../x/0.jpg", "x/0.txt"), ("0.jpg", "0.txt")):
        assert label_path(tmp_path / "pics" / image, None, marks) == marks / label
        assert label_path(Path(image), None, marks) == marks / label
    assert label_path(tmp_path / "pics/y/0.jpg", None, marks) == marks / "0.txt"  # no folder y
    assert label_path(Path("../pics/x/0.jpg"), None, marks) == marks / "x/0.txt"


def test_images_of_two_folders_with_one_label_file(tmp_path: Path) -> None:
    """``labels`` beside ``x`` and ``y``: the labels of x/0.jpg and of y/0.jpg."""
    for name in ("x", "y", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "labels/0.txt").touch()
    images = [tmp_path / name for name in ("x/0.jpg", "x/0.png", "x/1.jpg", "y/0.jpg", "y/1.jpg")]
    issues = images_sharing_labels(images)
    assert list(issues) == [images[0], images[1], images[3]]
    assert str(issues[images[0]]) == (
        f"{tmp_path}/x/0.jpg: {tmp_path}/labels/0.txt may be its labels or those of "
        f"{tmp_path}/y/0.jpg, expected a file for each"
    )
    assert images_sharing_labels(images[:3]) == {}
    assert all(issue.drops_image for issue in issues.values())


def test_listed_images(tmp_path: Path) -> None:
    (tmp_path / "lists/images").mkdir(parents=True)
    (tmp_path / "lists/images/a.jpg").touch()
    file = tmp_path / "lists/train.txt"
    file.write_text(f"# comment\n./images/a.jpg\n\nimages/b.jpg\n{tmp_path}/c.jpg\n")
    (tmp_path / "c.jpg").touch()
    images, issues, counts = listed_images(file, tmp_path)
    assert images == [
        tmp_path / "lists/images/a.jpg",  # found beside the list
        tmp_path / "c.jpg",
    ]
    assert [str(issue) for issue in issues] == [
        f"{file}:4: no image 'images/b.jpg', looked for at {tmp_path / 'images/b.jpg'}"
    ]
    assert issues[0].drops_image
    assert not counts
    (tmp_path / "images").mkdir()
    (tmp_path / "images/b.jpg").touch()  # below the root
    assert listed_images(file, tmp_path)[0][1] == tmp_path / "images/b.jpg"
    file.write_text("\n# nothing\n")
    with pytest.raises(DetectorError) as caught:
        listed_images(file, tmp_path)
    assert str(caught.value) == f"{file}: is empty, expected one image a line"


@pytest.mark.parametrize(
    "form", ["data/images/{}.jpg", "/content/set/images/{}.jpg", r"C:\set\images\{}.jpg"]
)
def test_listed_paths_of_another_machine(tmp_path: Path, form: str) -> None:
    (tmp_path / "images").mkdir()
    for name in "ab":
        (tmp_path / f"images/{name}.jpg").touch()
    file = tmp_path / "train.txt"
    file.write_text("".join(f"{form.format(name)}\n" for name in "ab"))
    images, issues, counts = listed_images(file, tmp_path)
    assert images == [tmp_path / "images/a.jpg", tmp_path / "images/b.jpg"]
    assert not issues
    name = (
        "listed images found by the ends of their paths, such as images/a.jpg for "
        f"{form.format('a')}"
    )
    assert counts == {name: 2}
    # one beginning is dropped, not another one for each line
    file.write_text(f"{form.format('a')}\nelsewhere/images/b.jpg\n")
    images, issues, _ = listed_images(file, tmp_path)
    assert images == [tmp_path / "images/a.jpg"]
    assert str(issues[0]) == (
        f"{file}:2: no image 'elsewhere/images/b.jpg', looked for at "
        f"{tmp_path}/elsewhere/images/b.jpg"
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("data/b.jpg", ""),
        ("'images/a.jpg'", ""),
        (
            "old/val/images/a.jpg",
            "; images/a.jpg has its name; a data.yaml says where its labels are: SPLIT: "
            "{images: images, labels: FOLDER}",
        ),
    ],
)
def test_a_list_of_missing_images(tmp_path: Path, line: str, hint: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").touch()
    file = tmp_path / "lists/val.txt"
    file.parent.mkdir()
    file.write_text(f"# two\n{line}\nx.jpg\n")
    with pytest.raises(DetectorError) as caught:
        listed_images(file, tmp_path)
    assert str(caught.value) == (
        f"{file}:2: none of 2 listed images exists; the first, {line!r}, was looked for at "
        f"{tmp_path / line}{hint}"
    )


def test_labels_without_image(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for name in ("a", "b", "c", "classes"):
        (tmp_path / f"labels/{name}.txt").touch()
    images = [tmp_path / "images/a.jpg"]
    assert labels_without_image(images, None, tmp_path / "images") == 2


def test_largest_class(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("3 .5 .5 .1 .1\n11 .5 .5 .1 .1\n\nx y\n")
    assert largest_class([tmp_path / "a.txt", tmp_path / "missing.txt"]) == 11
    assert largest_class([]) == -1
