"""Folders of labels in another format than the key of a definition says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.utils.errors import DetectorError

CORNERS = "<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"
XML = f"<annotation><object><name>cat</name><bndbox>{CORNERS}</bndbox></object></annotation>"
CVAT = '<annotations><image id="0" name="0.png" width="40" height="20"/></annotations>'
ROW = "0 0.5 0.5 0.2 0.2\n"
CSV = "0.png,1,2,9,8,cat\n"
COCO = {
    "images": [{"id": 1, "file_name": "0.png", "width": 40, "height": 20}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 8, 6]}],
    "categories": [{"id": 1, "name": "cat"}],
}
VIA = {
    "0.png9": {
        "filename": "0.png",
        "regions": [
            {
                "shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 8, "height": 6},
                "region_attributes": {"label": "cat"},
            }
        ],
    }
}


def labelme(number: int) -> str:
    shape = {"label": "cat", "points": [[1, 2], [9, 8]], "shape_type": "rectangle"}
    return json.dumps({"imagePath": f"../images/{number}.png", "shapes": [shape]})


@pytest.fixture
def root(tmp_path: Path, make_image: Callable[..., Path]) -> Path:
    """Return a folder with four 20×40 images in ``images/`` and an empty folder ``marks/``."""
    for number in range(4):
        make_image(f"images/{number}.png")
    (tmp_path / "marks").mkdir()
    return tmp_path


def definition(root: Path, place: str, names: str = "names: [cat]\n") -> Path:
    (root / "set.yaml").write_text(f"{names}train: {place}\n")
    return root / "set.yaml"


FILES = {
    "labelme JSON": ("0.json", labelme(0), "{images: images, labelme: marks}"),
    "VIA JSON": ("inner/v.json", json.dumps(VIA), "{images: images, via: marks/inner/v.json}"),
    "COCO JSON": ("all.json", json.dumps(COCO), "{images: images, annotations: marks/all.json}"),
    "CSV": ("all.csv", CSV, "{images: images, annotations: marks/all.csv}"),
    "YOLO txt": ("0.txt", ROW, "{images: images, labels: marks}"),
    "Pascal VOC XML": ("0.xml", XML, "{images: images, annotations: marks}"),
}
"""Files by format: name, content, and the place that reads it."""

KEYS = {"annotations": "Pascal VOC XML", "labels": "YOLO txt", "labelme": "labelme JSON"}


@pytest.mark.parametrize("names", ["names: [cat]\n", ""])
@pytest.mark.parametrize(
    ("key", "found"), [(key, found) for key in KEYS for found in FILES if KEYS[key] != found]
)
def test_another_format_is_named_with_the_place_that_reads_it(
    root: Path, key: str, found: str, names: str
) -> None:
    name, content, place = FILES[found]
    file = root / "marks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    path = definition(root, f"{{images: images, {key}: marks}}", names)
    with pytest.raises(DetectorError) as error:
        load_definition(path)
    assert str(error.value) == (
        f"{path}:{2 if names else 1}: {key}: {root}/marks holds no {KEYS[key]}, {file.name} is "
        f"{found}: write {place}"
    )
    dataset = open_dataset(definition(root, place), "train", max_unlabeled=0.75)
    assert dataset.samples[0].boxes_xyxy.shape == (1, 4)


def test_xml_and_labelme_of_other_images_are_two_places(root: Path) -> None:
    for number in range(2):
        (root / f"marks/{number}.json").write_text(labelme(number))
        (root / f"marks/{number + 2}.xml").write_text(XML)
    path = definition(root, "{images: images, annotations: marks}")
    places = (
        "[{images: images, annotations: marks, image_set: marks}, {images: images, labelme: marks}]"
    )
    with pytest.raises(DetectorError) as error:
        load_definition(path)
    assert str(error.value) == (
        f"{path}:2: annotations: {root}/marks holds 2 .xml and, of other images, 2 .json of "
        f"labelme: write {places}"
    )
    dataset = open_dataset(definition(root, places), "train")
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [1, 1, 1, 1]


def test_json_of_the_same_images_may_lie_beside_xml(root: Path) -> None:
    for number in range(4):
        (root / f"marks/{number}.json").write_text(labelme(number))
        (root / f"marks/{number}.xml").write_text(XML)
    (root / "marks/settings.json").write_text("{}")
    dataset = open_dataset(definition(root, "{images: images, annotations: marks}"), "train")
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [1, 1, 1, 1]


def test_empty_text_files_are_labels_of_images_without_objects(root: Path) -> None:
    for number in range(3):
        (root / f"marks/{number}.txt").write_text("")
    (root / "marks/3.json").write_text(labelme(3))
    load_definition(definition(root, "{images: images, labels: marks}"))


def test_an_empty_folder(root: Path) -> None:
    path = definition(root, "{images: images, annotations: marks}")
    with pytest.raises(DetectorError) as error:
        open_dataset(path, "train")
    assert str(error.value) == (
        f"{root}/marks: none of 4 images has an XML file; the first was looked for as 0.xml; "
        f"{root}/marks holds nothing"
    )
    with pytest.raises(DetectorError) as error:
        load_definition(definition(root, "{images: images, annotations: marks}", names=""))
    assert str(error.value) == f"{path}: no class names in the labels; {root}/marks holds nothing"


def test_a_format_that_is_not_read_names_its_converter(root: Path) -> None:
    (root / "marks/annotations.xml").write_text(CVAT)
    path = definition(root, "{images: images, annotations: marks}")
    with pytest.raises(DetectorError) as error:
        load_definition(path)
    assert str(error.value) == (
        f"{path}:2: annotations.xml is CVAT XML, which is not read; globox (MIT) converts it: "
        f"globox convert {root}/marks/annotations.xml NEW.json -f cvat -F coco -A"
    )
