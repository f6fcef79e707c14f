"""Writers of label files: exact texts, escaping, what a format cannot hold."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from detector.data.formats import csv_boxes, voc
from detector.data.formats.yolo_rows import parse_row
from detector.label_files.coco import CocoWriter
from detector.label_files.csv_boxes import CsvWriter
from detector.label_files.cvat import CvatWriter
from detector.label_files.definition import definition_text
from detector.label_files.labeled_image import LabeledImage, decimal, shortest
from detector.label_files.labelstudio import LabelStudioWriter, labeling_config
from detector.label_files.voc import VocWriter
from detector.label_files.writer import LabelWriter
from detector.label_files.yolo import YoloWriter
from detector.utils.errors import DetectorError

ODD_NAMES = ("<b> & \"c\" 'd'", "-x", "é, ü; 日本", "=1+1", "yes", "1e3", "a: b # c")
WRITERS = (YoloWriter, CocoWriter, VocWriter, CsvWriter, LabelStudioWriter, CvatWriter)


def image(
    *boxes: tuple[int, list[float]], name: str = "a.png", image_id: int = 1, **more: Any
) -> LabeledImage:
    """An image of 20×40 pixels with classes and boxes."""
    return LabeledImage(
        name,
        (20, 40),
        np.array([box for _, box in boxes], np.float32).reshape(-1, 4),
        np.array([class_id for class_id, _ in boxes], np.int64),
        image_id,
        **more,
    )


def written(writer: LabelWriter, *images: LabeledImage) -> str:
    """Write images; return the file, or the first image's file."""
    with writer:
        for one in images:
            writer.write(one)
    path = writer.path if writer.path.is_file() else next(writer.path.rglob("a.*"))
    return path.read_text(encoding="utf-8")


def test_numbers():
    # float32 of 0.1 is 0.100000001490116…, and reads as 0.1.
    assert shortest(np.array([0.1, 12, 473.07], np.float32)).tolist() == [0.1, 12.0, 473.07]
    assert [decimal(v) for v in (0.0, 12.0, 0.00002, 1e-9, 473.07)] == [
        "0",
        "12",
        "0.00002",
        "0",
        "473.07",
    ]


@pytest.mark.parametrize("writer", WRITERS)
def test_no_image(writer: type[LabelWriter], tmp_path: Path):
    with writer(tmp_path / "labels", ["cat"]):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_yolo(tmp_path: Path):
    # Centers (12, 7) and (20, 10) of 40×20 pixels; sizes 16×6 and 40×20.
    text = written(
        YoloWriter(tmp_path, ["cat", "dog"]),
        image((1, [4, 4, 20, 10]), (0, [0, 0, 40, 20]), scores=np.float32([0.5, 0.25])),
    )
    assert text == "1 0.3 0.35 0.4 0.3\n0 0.5 0.5 1 1\n"
    assert written(YoloWriter(tmp_path / "empty", ["cat"]), image()) == ""


@given(
    st.lists(st.floats(0, 8000, width=32), min_size=4, max_size=4),
    st.integers(1, 8000),
    st.integers(1, 8000),
)
def test_yolo_is_read_as_it_was(corners: list[float], height: int, width: int):
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    box = np.array([[x1 / 8000 * width, y1 / 8000 * height, x2 / 8000 * width, y2 / 8000 * height]])
    one = LabeledImage("a.png", (height, width), box.astype(np.float32), np.zeros(1, np.int64), 1)
    (line,) = YoloWriter(Path("labels"), ["cat"]).text(one).splitlines()
    _, found = parse_row(line, (height, width), 1)
    # Half of the sixth place, the fractions' places, and float32's own step at 8000, 0.0005 / 2.
    np.testing.assert_allclose(found, one.boxes_xyxy[0], rtol=0, atol=1e-6 + 2.5e-4)


def test_coco(tmp_path: Path):
    writer = CocoWriter(
        tmp_path / "a.json",
        ["cat", "dog"],
        [7, 3],
        [{"supercategory": "pet"}, {}],
        {"info": {"year": 2017}, "licenses": [{"id": 1}]},
    )
    first = image(
        (1, [0.1, 4, 20.35, 10]),
        (0, [0, 0, 9, 9]),
        image_id=42,
        crowd=np.array([False, True]),
        difficult=np.array([True, False]),
        areas=np.float32([50.5, 81]),
        scores=np.float32([0.75, 0.5]),
        record={"license": 1},
    )
    content = json.loads(written(writer, first, image(name="b.png", image_id=43)))
    assert content == {
        "info": {"year": 2017},
        "licenses": [{"id": 1}],
        "categories": [
            {"supercategory": "pet", "id": 7, "name": "cat"},
            {"id": 3, "name": "dog"},
        ],
        "images": [
            {"license": 1, "id": 42, "file_name": "a.png", "height": 20, "width": 40},
            {"id": 43, "file_name": "b.png", "height": 20, "width": 40},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 42,
                "category_id": 3,
                "bbox": [0.1, 4.0, 20.25, 6.0],  # 20.35 − 0.1, 10 − 4
                "area": 50.5,
                "iscrowd": 0,
                "difficult": 1,
                "score": 0.75,
            },
            {
                "id": 2,
                "image_id": 42,
                "category_id": 7,
                "bbox": [0.0, 0.0, 9.0, 9.0],
                "area": 81.0,
                "iscrowd": 1,
                "score": 0.5,
            },
        ],
    }


def test_coco_names_bytes_that_are_not_utf8(tmp_path: Path):
    text = written(CocoWriter(tmp_path / "a.json", ["cat"]), image(name="a\udce9.png"))
    assert json.loads(text)["images"][0]["file_name"] == "a\udce9.png"


def test_coco_holds_no_numbers_that_json_cannot(tmp_path: Path):
    with pytest.raises(DetectorError) as error:
        written(CocoWriter(tmp_path / "a.json", ["cat"], top={"info": {"x": float("nan")}}))
    assert error.value.message == (
        "{'x': nan} has a number that is not finite, which JSON cannot hold"
    )
    assert list(tmp_path.iterdir()) == []


def test_voc(tmp_path: Path):
    one = image((0, [0.5, 4, 20, 10.25]), name="x/a.png", difficult=np.array([True]))
    text = written(VocWriter(tmp_path, ["<cat>"]), one)
    assert text == (
        "<annotation>\n"
        "  <filename>a.png</filename>\n"
        "  <size><width>40</width><height>20</height><depth>3</depth></size>\n"
        "  <segmented>0</segmented>\n"
        "  <object>\n"
        "    <name>&lt;cat&gt;</name>\n"
        "    <pose>Unspecified</pose>\n"
        "    <truncated>0</truncated>\n"
        "    <difficult>1</difficult>\n"
        "    <bndbox><xmin>0.5</xmin><ymin>4</ymin><xmax>20</xmax><ymax>10.25</ymax></bndbox>\n"
        "  </object>\n"
        "</annotation>\n"
    )
    (row,) = voc.read_labels(tmp_path / "x/a.xml", (20, 40), {"<cat>": 0}).rows
    assert (row.box_xyxy, row.difficult) == ((0.5, 4, 20, 10.25), True)


def test_csv(tmp_path: Path):
    writer = CsvWriter(tmp_path / "a.csv", ['say "a", b', "=1+1"])
    text = written(writer, image((0, [0, 4.5, 20, 10]), (1, [1, 1, 2, 2])), image(name="b, c.png"))
    assert text == (
        "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        'a.png,40,20,"say ""a"", b",0,4.5,20,10\n'
        "a.png,40,20,=1+1,1,1,2,2\n"
        '"b, c.png",40,20,,,,,\n'
    )
    assert [len(row) for row in csv.reader(io.StringIO(text))] == [8, 8, 8, 8]
    first, second = csv_boxes.read_file(tmp_path / "a.csv")
    assert [box.class_name for box in first.boxes] == ['say "a", b', "=1+1"]
    assert (second.name, second.boxes) == ("b, c.png", [])


def test_label_studio(tmp_path: Path):
    one = image(
        (1, [4, 4, 20, 10]),
        (0, [0, 0, 40, 20]),
        name="x y/a#1.png",
        scores=np.float32([0.75, 0.5]),
    )
    writer = LabelStudioWriter(tmp_path / "tasks.json", ["cat", "dog"], "best.onnx")
    first, second = json.loads(written(writer, one, image(name="b.png", image_id=2)))
    common = {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": 40,
        "original_height": 20,
        "image_rotation": 0,
    }
    # Percent of 40×20: x 4 → 10, y 4 → 20, width 16 → 40, height 6 → 30.
    value = {"x": 10.0, "y": 20.0, "width": 40.0, "height": 30.0, "rotation": 0}
    whole = {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0, "rotation": 0}
    assert first == {
        "id": 1,
        "data": {"image": "/data/local-files/?d=x%20y/a%231.png"},
        "predictions": [
            {
                "model_version": "best.onnx",
                "score": 0.625,  # the mean
                "result": [
                    {
                        "id": "1-1",
                        **common,
                        "value": {**value, "rectanglelabels": ["dog"]},
                        "score": 0.75,
                    },
                    {
                        "id": "1-2",
                        **common,
                        "value": {**whole, "rectanglelabels": ["cat"]},
                        "score": 0.5,
                    },
                ],
            }
        ],
    }
    assert second["predictions"] == [{"model_version": "best.onnx", "result": []}]


def test_labeling_config_names_what_results_refer_to():
    root = ElementTree.fromstring(labeling_config(ODD_NAMES))
    picture, labels = root
    assert (picture.tag, picture.get("name"), picture.get("value")) == ("Image", "image", "$image")
    assert (labels.tag, labels.get("name"), labels.get("toName")) == (
        "RectangleLabels",
        "label",
        "image",
    )
    assert tuple(label.get("value") for label in labels) == ODD_NAMES


def test_cvat(tmp_path: Path):
    writer = CvatWriter(tmp_path / "a.xml", ODD_NAMES)
    text = written(writer, image((0, [4.5, 4, 20, 10]), name='x/"a".png'), image(image_id=2))
    root = ElementTree.fromstring(text)
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert tuple(one.text for one in root.findall("meta/task/labels/label/name")) == ODD_NAMES
    first, second = root.findall("image")
    assert first.attrib == {"id": "0", "name": 'x/"a".png', "width": "40", "height": "20"}
    assert [box.attrib for box in first] == [
        {
            "label": ODD_NAMES[0],
            "xtl": "4.5",
            "ytl": "4",
            "xbr": "20",
            "ybr": "10",
            "occluded": "0",
            "z_order": "0",
            "source": "auto",
        }
    ]
    assert (second.get("id"), len(second)) == ("1", 0)


@pytest.mark.parametrize(
    ("writer", "name", "expected"),
    [
        (VocWriter, " cat", "class name ' cat' begins or ends with a space, which Pascal VOC XML"),
        (CsvWriter, "cat\n", r"class name 'cat\n' begins or ends with a space, which CSV"),
        (CsvWriter, "a\0b", r"class name 'a\x00b' has a null character, which CSV"),
        (VocWriter, "a\x07", r"class name 'a\x07' has the character U+0007, which Pascal VOC XML"),
        (CvatWriter, "\ufffe", r"class name '\ufffe' has the character U+FFFE, which CVAT XML"),
        (LabelStudioWriter, "a\x01", r"class name 'a\x01' has the character U+0001, which Label S"),
        (CocoWriter, "a\udce9", r"class name 'a\udce9' is not UTF-8 text, which COCO JSON"),
    ],
)
def test_names_that_a_format_cannot_hold(
    writer: type[LabelWriter], name: str, expected: str, tmp_path: Path
):
    with pytest.raises(DetectorError) as error:
        writer(tmp_path / "labels", ["dog", name])
    assert str(error.value).startswith(expected)
    assert str(error.value).endswith(" cannot hold")


@pytest.mark.parametrize("writer", [CsvWriter, CvatWriter])
def test_image_names_that_a_format_cannot_hold(writer: type[LabelWriter], tmp_path: Path):
    with pytest.raises(DetectorError) as error, writer(tmp_path / "labels", ["cat"]) as labels:
        labels.write(image(name="a\udce9.png"))
    assert error.value.message == f"its name is not UTF-8 text, which {writer.title} cannot hold"
    assert list(tmp_path.iterdir()) == []  # nothing that looks complete


@pytest.mark.parametrize("writer", [YoloWriter, VocWriter])
def test_one_label_file_of_two_images(writer: type[LabelWriter], tmp_path: Path):
    labels = writer(tmp_path, ["cat"])
    labels.write(image(name="x/a.png"))
    labels.write(image(name="y/a.png"))  # another folder
    labels.write(image(name="x/a.png"))  # the same image
    with pytest.raises(DetectorError) as error:
        labels.write(image(name="x/a.jpg"))
    assert error.value.message == (
        "would be the label file of x/a.png and of x/a.jpg, expected images whose names differ "
        "without their suffixes"
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_any_name_can_stand_in_a_definition(names: list[str]):
    text = definition_text(names, {"train": "images/train", "splits": {"images": "a b"}}, ["train"])
    assert yaml.safe_load(text) == {
        "names": dict(enumerate(names)),
        "train": "images/train",
        "splits": {"splits": {"images": "a b"}},
    }
