"""The error about a folder of no known layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.data.formats.definition import load_definition
from detector.utils.errors import DetectorError

COCO = "COCO JSON, a file with lists of images, annotations and categories"
LABELME = "labelme JSON, a file named like each image, with imagePath and a list of shapes"
VIA = "VIA JSON, a file of images with filename and regions each"
CSV = "CSV, rows path,x1,y1,x2,y2,class or a header with filename, xmin, ymin, xmax, ymax and class"
VOC = "Pascal VOC XML, an <annotation> file named like each image"
YOLO = (
    "YOLO txt, rows of `class x y width height` in a file named like each image, in labels/ or "
    "beside the images"
)


def message(folder: Path) -> str:
    """Return what the error says after the words that it always begins with."""
    with pytest.raises(DetectorError) as caught:
        load_definition(folder)
    text = str(caught.value)
    start = f"{folder}: neither a data.yaml nor a known layout in this folder, which holds "
    assert text.startswith(start)
    assert "\n" not in text
    return text.removeprefix(start)


def test_an_empty_folder(tmp_path: Path) -> None:
    assert message(tmp_path) == (
        "no files; the nearest layout is images/ and labels/ (YOLO), a COCO JSON and images, or a "
        "data.yaml"
    )


@pytest.mark.parametrize(
    ("name", "content", "found", "nearest"),
    [
        ("a.json", '{"version": 1, "shapes": []}', "holds the keys version, shapes", LABELME),
        ("a.json", '{"imagePath": 1, "shapes": 2}', "holds the keys imagePath, shapes", LABELME),
        ("a.json", '{"a": {"regions": []}}', "holds the keys a", VIA),
        ("a.json", '{"a": 1}', "holds the keys a", COCO),
        ("a.json", '[{"image": 1, "annotations": 2}]', "holds a list, of the keys image, "
         "annotations", COCO),
        ("a.json", "[]", "holds a list", COCO),
        ("a.json", "{}", "holds no keys", COCO),
        ("a.json", json.dumps(dict.fromkeys("abcdefghi")), "holds the keys a, b, c, d, e, f, g, "
         "h, …", COCO),
        ("a.json", '{"images": [],\n', "cannot be used: JSON syntax: Expecting property name "
         "enclosed in double quotes in line 2", COCO),
        ("a.json", '{"images": [{"id": "7"}], "annotations": []}', "cannot be used: images[0]: id "
         "is '7', expected int", COCO),
        ("a.json", "7", "cannot be used: no list of 'images', expected a COCO annotation file",
         COCO),
        ("a.xml", "<annotations/>", "holds <annotations>", VOC),
        ("a.txt", "Car 0.00 0 -1.57\n", "begins with 'Car 0.00 0 -1.57'", YOLO),
        ("a.txt", "", "cannot be used: is empty, expected text", YOLO),
        ("a.csv", "file,box,kind\n", "begins with 'file,box,kind'", CSV),
    ],
)  # fmt: skip
def test_files_of_labels(
    tmp_path: Path, make_image, name: str, content: str, found: str, nearest: str
) -> None:
    make_image("pictures/0.png")
    make_image("pictures/1.png")
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / name).write_text(content)
    suffix = Path(name).suffix
    assert message(tmp_path) == (
        f"2 .png, 1 {suffix}; marks/{name} {found}; the nearest layout is {nearest}"
    )


def test_many_kinds_of_files(tmp_path: Path, make_image) -> None:
    make_image("a.png")
    make_image("b.JPG")
    for name in ("a.txt", "b.txt", "a.md", "a.py", "a.csv", "a.zip", "a.rar", "README"):
        (tmp_path / name).write_text("x")
    assert message(tmp_path).startswith(
        "1 .png, 1 .jpg, 2 .txt, 1 without suffix, 1 .csv, 1 .md, 3 others; "
    )


def test_annotations_without_their_images(tmp_path: Path, make_image) -> None:
    make_image("pictures/0.png")
    content = {
        "images": [{"id": 1, "file_name": "7.png"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert message(tmp_path) == (
        "1 .png, 1 .json; result.json is left out: its first image, '7.png', is in no folder here; "
        "--data takes the folder that holds the images, too"
    )


def test_a_set_inside_the_folder(tmp_path: Path, make_image) -> None:
    """As archives are unpacked, into a folder of their own name."""
    make_image("pets/train/images/0.png")
    (tmp_path / "pets/train/labels").mkdir()
    (tmp_path / "pets/train/labels/0.txt").write_text("0 .5 .5 .1 .1\n")
    assert message(tmp_path) == (
        f"1 .png, 1 .txt; the folder pets in it has one: --data {tmp_path}/pets"
    )
    assert load_definition(tmp_path / "pets").names == ("0",)


def test_unusable_files_beside_others(tmp_path: Path, make_image) -> None:
    """The broken file is named, though another one is the example."""
    make_image("pictures/0.png")
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/a.json").write_text('{"a": 1}')
    (tmp_path / "marks/train.json").write_text('{"images": [],\n')
    assert message(tmp_path) == (
        "1 .png, 2 .json; marks/train.json cannot be used: JSON syntax: Expecting property name "
        "enclosed in double quotes in line 2; marks/a.json holds the keys a; the nearest layout is "
        f"{COCO}"
    )


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": 2}', '{"annotations": []}', "[1, 2, 3, 4]", "{" * 15]
)
def test_a_large_json_file_is_not_read_whole(
    tmp_path: Path, make_image, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    make_image("pictures/0.png")
    file = tmp_path / "a/b/c/d/large.json"  # deeper than annotation files are looked for
    file.parent.mkdir(parents=True)
    file.write_text(text)
    monkeypatch.setattr("detector.data.formats.unknown_layout.MAX_EXAMPLE_BYTES", len(text))
    assert "bytes" not in message(tmp_path)
    monkeypatch.setattr("detector.data.formats.unknown_layout.MAX_EXAMPLE_BYTES", len(text) - 1)

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} is read whole")

    monkeypatch.setattr("detector.data.formats.coco.read_file", refuse)
    assert message(tmp_path) == (
        f"1 .png, 1 .json; a/b/c/d/large.json has more than {len(text) - 1} bytes, too many to "
        f"name its keys; the nearest layout is {COCO}"
    )
