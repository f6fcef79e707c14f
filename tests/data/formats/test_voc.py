"""Pascal VOC XML."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.voc import (
    MAX_XML_BYTES,
    annotated_images,
    class_names,
    is_annotation,
    listed_images,
    read_labels,
    read_xml,
    xml_files,
)
from detector.utils.errors import DetectorError
from tests.data.conftest import voc_xml

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
    assert not labels.issues
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
    (issue,) = labels.issues
    assert (issue.message, issue.line, issue.drops_image) == (message, line, False)


BOX = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"


@pytest.mark.parametrize("corners", [(0.1, 0.25, 0.5, 0.75), (0, 0, 1, 1)])
def test_fractions(write, corners: tuple[float, ...]) -> None:
    box = BOX.format(*corners)
    text = f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
    (issue,) = read_labels(write(text), (20, 40), CLASSES).issues
    numbers = ", ".join(map(str, corners))
    assert issue.message == f"<bndbox>: ({numbers}) has fractions of the image, expected pixels"


@pytest.mark.parametrize("corners", [(0, 0, 2, 1), (1, 1, 2, 2), (0, 0, 0, 1)])
def test_small_boxes_in_pixels(write, corners: tuple[int, ...]) -> None:
    box = BOX.format(*corners)
    text = f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
    labels = read_labels(write(text), (20, 40), CLASSES)
    assert not labels.issues
    assert labels.rows[0].box_xyxy == corners


def test_an_object_without_box(write) -> None:
    text = "<annotation><object><name>cat</name></object></annotation>"
    (issue,) = read_labels(write(text), (20, 40), CLASSES).issues
    assert issue.message == "an object 'cat' without <bndbox>"


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
def test_bad_files_drop_their_image(
    write, text: str | bytes, line: int | None, message: str
) -> None:
    labels = read_labels(write(text), (20, 40), CLASSES)
    (issue,) = labels.issues
    assert issue.drops_image
    assert (issue.message, issue.line) == (message, line)


def test_a_huge_file(write) -> None:
    with pytest.raises(DetectorError) as caught:
        read_xml(write(b" " * (MAX_XML_BYTES + 1)))
    assert caught.value.message == f"has more than {MAX_XML_BYTES} bytes"


@pytest.mark.parametrize(("size_hw", "found"), [((40, 20), "20×40"), ((20, 41), "41×20")])
def test_another_size_than_stated(write, size_hw, found: str) -> None:
    assert not read_labels(write(OBJECT), (20, 40), CLASSES).issues
    (issue,) = read_labels(write(OBJECT), size_hw, CLASSES).issues
    assert issue.message == f"labels are of an image of 40×20 pixels, found {found}"
    assert issue.drops_image


@pytest.mark.parametrize("stated", ["0", "", "40.5", "-1", "9" * 5000])
def test_a_size_that_is_none(write, stated: str) -> None:
    text = OBJECT.replace("<width>40<", f"<width>{stated}<")
    assert text != OBJECT
    assert not read_labels(write(text), (20, 41), CLASSES).issues


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
    images, issues = listed_images(listing, tmp_path / "pics")
    assert [image.name for image in images] == ["b.png", "a.jpg", "c.v2.jpg"]
    (issue,) = issues
    assert str(issue) == f"{listing}:4: no image 'd' in {tmp_path / 'pics'}"


def touch(folder: Path, names: str) -> None:
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("pictures", "lines", "found", "messages"),
    [
        # folders are part of the path, with and without suffix, with and without "./"
        ("x/0.jpg y/0.jpg", "y/0 ./x/0.jpg", "y/0.jpg x/0.jpg", []),
        ("x/0.jpg y/0.jpg 0.jpg", "0 y/0.xml", "0.jpg y/0.jpg", []),
        # a name alone, or behind a folder of another name
        ("x/0.jpg y/1.jpg", "1 pics/0.jpg", "y/1.jpg x/0.jpg", []),
        ("x/a.jpg.png", "a.jpg", "x/a.jpg.png", []),
        ("x/0.jpg", "z/0 z/0", "x/0.jpg x/0.jpg", []),
        (
            "x/0.jpg y/0.jpg z/0.jpg y/1.jpg",
            "1 0",
            "y/1.jpg",
            ["2: '0' may be {0}/x/0.jpg or {0}/y/0.jpg or 1 more, expected a path below {0}"],
        ),
        ("x/0.jpg", "x/0 y/0", "x/0.jpg", ["2: no image 'y/0' in {0}"]),
        (
            "0.jpg",
            "x/0 y/0",
            "",
            [
                "1: no image 'x/0' in {0}; {0}/0.jpg may also be 'y/0'",
                "2: no image 'y/0' in {0}; {0}/0.jpg may also be 'x/0'",
            ],
        ),
    ],
)
def test_listed_images_in_folders(
    tmp_path: Path, pictures: str, lines: str, found: str, messages: list[str]
) -> None:
    folder = tmp_path / "pics"
    touch(folder, pictures)
    listing = tmp_path / "train.txt"
    listing.write_text("\n".join(lines.split()))
    images, issues = listed_images(listing, folder)
    assert images == [folder / name for name in found.split()]
    assert [str(issue) for issue in issues] == [
        f"{listing}:{message.format(folder)}" for message in messages
    ]
    assert all(issue.drops_image for issue in issues)


def paired(folder: Path, asked: str) -> tuple[list[Path], list[str]]:
    """Return the label files of the requested images, and the issues."""
    asked_for = [folder / "pics" / name for name in asked.split()]
    images, issues = annotated_images(asked_for, folder / "pics", folder / "marks", ["cat"])
    assert all(issue.drops_image for issue in issues)
    files = [image.read_labels((20, 40)).file.relative_to(folder) for image in images]
    return files, [str(issue) for issue in issues]


def test_labels_have_their_images_path(tmp_path: Path) -> None:
    touch(tmp_path / "pics", "x/0.jpg y/0.jpg y/1.jpg y/2.jpg")
    touch(tmp_path / "marks", "x/0.xml y/0.xml z/1.XML")
    assert paired(tmp_path, "x/0.jpg y/0.jpg y/1.jpg y/2.jpg") == (
        [Path("marks") / name for name in ("x/0.xml", "y/0.xml", "z/1.XML", "y/2.xml")],
        [],
    )


def test_two_images_that_one_file_may_belong_to(tmp_path: Path) -> None:
    touch(tmp_path / "pics", "x/0.jpg y/0.jpg 1.jpg")
    touch(tmp_path / "marks", "0.xml 1.xml")
    pics, marks = tmp_path / "pics", tmp_path / "marks"
    message = (
        f"{pics}/x/0.jpg: {marks}/0.xml may be its labels or those of {pics}/y/0.jpg, "
        f"expected {marks}/x/0.xml"
    )
    # the other image counts though it is not asked for
    assert paired(tmp_path, "1.jpg x/0.jpg") == ([Path("marks/1.xml")], [message])
    assert paired(tmp_path, "x/0.jpg") == ([], [message])


def test_two_files_that_one_image_may_have(tmp_path: Path) -> None:
    touch(tmp_path / "pics", "0.jpg")
    touch(tmp_path / "marks", "x/0.xml y/0.xml")
    marks = tmp_path / "marks"
    assert paired(tmp_path, "0.jpg")[1] == [
        f"{tmp_path}/pics/0.jpg: its labels may be {marks}/x/0.xml or {marks}/y/0.xml, "
        f"expected {marks}/0.xml"
    ]


def test_not_one_xml_file(tmp_path: Path) -> None:
    touch(tmp_path, "pics/a.jpg pics/b.jpg marks/c.xml")
    with pytest.raises(DetectorError) as caught:
        paired(tmp_path, "a.jpg b.jpg")
    assert str(caught.value) == (
        f"{tmp_path}/marks: none of 2 images has an XML file; the first was looked for as a.xml"
    )


def test_xml_files_in_links_and_hidden_folders(tmp_path: Path) -> None:
    touch(tmp_path, "marks/a.xml marks/.old/a.xml store/b.xml")
    (tmp_path / "marks/more").symlink_to(tmp_path / "store")
    files = [tmp_path / "marks" / name for name in ("a.xml", "more/b.xml")]
    assert xml_files(tmp_path / "marks") == files


@pytest.mark.parametrize(
    ("text", "expected"), [(OBJECT, True), ("<project/>", False), ("<annotation>", True)]
)
def test_what_is_an_annotation(write, text: str, expected: bool) -> None:
    assert is_annotation(write(text)) == expected


def test_class_names_are_sorted_and_unreadable_files_have_none(tmp_path: Path, write) -> None:
    (tmp_path / "broken.xml").write_text("<annotation>")
    (tmp_path / "b.xml").write_text(OBJECT.replace("dog", "ape"))
    assert class_names([write(OBJECT), *sorted(tmp_path.glob("b*.xml"))]) == ["ape", "dog"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_drops_its_image(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    os.mkfifo(file)
    (issue,) = read_labels(file, (20, 40), CLASSES).issues
    assert issue.drops_image
    assert str(issue) == f"{file}: is not a regular file, expected an XML file"


def test_a_list_without_any_image_of_the_folder(voc_folder, tmp_path: Path) -> None:
    definition = voc_folder({"a": voc_xml()})
    file = tmp_path / "ImageSets" / "Main" / "train.txt"
    assert [sample.path.stem for sample in open_dataset(definition, "train").samples] == ["a"]
    file.write_text("a1\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(definition, "train")
    assert str(caught.value) == (
        f"{file}:1: no image 'a1' in {tmp_path / 'JPEGImages'} (--skip-bad leaves it out)"
    )
