"""Pascal VOC XML."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data.readers.voc import (
    MAX_XML_BYTES,
    class_names,
    listed_images,
    read_labels,
    read_xml,
)
from detector.errors import DetectorError

CLASSES = {"cat": 0, "dog": 1}

OBJECT = """<annotation>
<size><width>40</width><height>20</height></size>
<object>
  <name> dog </name>
  <difficult>1</difficult>
  <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
  <bndbox><xmax>30.5</xmax><xmin>1</xmin><ymin>2</ymin><ymax>20</ymax></bndbox>
</object>
</annotation>
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_file(text: str | bytes) -> Path:
        path = tmp_path / "a.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def test_boxes_are_used_as_written(write) -> None:
    labels = read_labels(write(OBJECT), (20, 40), CLASSES)
    (row,) = labels.rows
    assert row.box_xyxy == (1, 2, 30.5, 20)  # no 1 is subtracted
    assert (row.class_id, row.line, row.difficult) == (1, 3, True)
    assert not labels.problems
    assert not labels.counts


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("dog", "dgo", 3, "class 'dgo' is not among the names; did you mean 'dog'?"),
        ("dog", "zebra", 3, "class 'zebra' is not among the names, expected one of: cat, dog"),
        (" dog ", "", 3, "an object without <name>"),
        ("<xmax>30.5</xmax>", "", 3, "a <bndbox> without <xmax>"),
        ("30.5", "wide", 3, "<xmax>: 'wide' is not a number"),
        ("30.5", "nan", 3, "<xmax>: 'nan' is not a finite number"),
        ("30.5", "", 3, "<xmax>: '' is not a number"),
    ],
)
def test_bad_objects(write, old: str, new: str, line: int, message: str) -> None:
    labels = read_labels(write(OBJECT.replace(old, new)), (20, 40), CLASSES)
    assert not labels.rows
    (problem,) = labels.problems
    assert (problem.what, problem.line, problem.spoils_image) == (message, line, False)


def test_an_object_without_box(write) -> None:
    text = "<annotation><object><name>cat</name></object></annotation>"
    (problem,) = read_labels(write(text), (20, 40), CLASSES).problems
    assert problem.what == "an object 'cat' without <bndbox>"


BOMB = """<?xml version="1.0"?>
<!DOCTYPE bomb [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<annotation>&b;</annotation>
"""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "XML syntax: no element found"),
        ("<annotation>\n<object>\n</annotation>", 3, "XML syntax: mismatched tag"),
        (BOMB, 2, "has a document type (<!DOCTYPE …>), which annotations do not need"),
        (
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>',
            1,
            "has a document type (<!DOCTYPE …>), which annotations do not need",
        ),
        ("<a>" * 40 + "</a>" * 40, 1, "is nested deeper than 32 levels"),
        ("<annotation>&b;</annotation>", 1, "XML syntax: undefined entity"),
        ("<list>\n</list>", 1, "expected <annotation>, found <list>"),
        (b"<annotation>\xff</annotation>", 1, "XML syntax: not well-formed (invalid token)"),
        (
            '<?xml version="1.0" encoding="no-such"?><a/>',
            None,
            "XML syntax: unknown encoding: no-such",
        ),
    ],
)
def test_bad_files_spoil_their_image(
    write, text: str | bytes, line: int | None, message: str
) -> None:
    labels = read_labels(write(text), (20, 40), CLASSES)
    (problem,) = labels.problems
    assert problem.spoils_image
    assert (problem.what, problem.line) == (message, line)


def test_a_huge_file(write) -> None:
    with pytest.raises(DetectorError) as caught:
        read_xml(write(b" " * (MAX_XML_BYTES + 1)))
    assert caught.value.message == f"has more than {MAX_XML_BYTES} bytes"


@pytest.mark.parametrize(("size_hw", "counted"), [((20, 40), 0), ((40, 20), 1), ((20, 41), 1)])
def test_another_size_than_stated_is_counted(write, size_hw, counted: int) -> None:
    labels = read_labels(write(OBJECT), size_hw, CLASSES)
    assert sum(labels.counts.values()) == counted


def test_a_missing_file_is_an_image_without_objects(tmp_path: Path) -> None:
    labels = read_labels(tmp_path / "none.xml", (20, 40), CLASSES)
    assert not labels.rows
    assert labels.counts == {"images without a label file, taken as without objects": 1}


def test_listed_images(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.png", "c.v2.jpg"):
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listing = tmp_path / "train.txt"
    listing.write_text("b\na.jpg\nc.v2\nd\n")
    images, problems = listed_images(listing, tmp_path / "pics")
    assert [image.name for image in images] == ["b.png", "a.jpg", "c.v2.jpg"]
    (problem,) = problems
    assert str(problem) == f"{listing}:4: no image 'd' in {tmp_path / 'pics'}"


def test_class_names_are_sorted_and_unreadable_files_have_none(tmp_path: Path, write) -> None:
    (tmp_path / "broken.xml").write_text("<annotation>")
    (tmp_path / "b.xml").write_text(OBJECT.replace("dog", "ape"))
    assert class_names([write(OBJECT), *sorted(tmp_path.glob("b*.xml"))]) == ["ape", "dog"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_spoils_its_image(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    os.mkfifo(file)
    (problem,) = read_labels(file, (20, 40), CLASSES).problems
    assert problem.spoils_image
    assert str(problem) == f"{file}: is not a regular file, expected an XML file"
