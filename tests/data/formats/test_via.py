"""JSON of the VGG Image Annotator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.dataset import open_dataset
from detector.data.formats import via
from detector.data.formats.definition import load_definition
from detector.data.formats.moved import is_image_path
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError

RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


def region(shape: Any = None, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape or RECT, "region_attributes": attributes}


def records(**regions: Any) -> dict[str, Any]:
    """Return the records of images ``a=[…]``, called a.png."""
    return {
        f"{name}.png71": {"filename": f"{name}.png", "size": 71, "regions": found}
        for name, found in regions.items()
    }


@pytest.fixture
def via_folder(tmp_path: Path, make_image) -> Callable[..., Path]:
    """Write 20×40 images a.png and b.png, a VIA file and a definition; return the file."""

    def make(content: Any, names: str = "[cat, dog]", more: str = "") -> Path:
        make_image("images/a.png")
        make_image("images/b.png")
        file = tmp_path / "via.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        text = f"names: {names}\ntrain: {{via: via.json, images: images{more}}}\n"
        (tmp_path / "set.yaml").write_text(text)
        return file

    return make


@pytest.mark.parametrize("is_project", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_versions(tmp_path: Path, via_folder, version: int, is_project: bool) -> None:
    regions: Any = [region(kind="dog"), region({**RECT, "x": 5}, kind=" cat")]
    empty: Any = []
    if version == 1:
        regions, empty = {"0": regions[0], "1": regions[1]}, {}
    content: Any = records(a=regions, b=empty)
    if is_project:
        content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
    via_folder(content)
    a, b = open_dataset(tmp_path / "set.yaml", "train").samples
    assert a.boxes_xyxy.tolist() == [[1, 2, 4, 6], [5, 2, 8, 6]]
    assert a.class_ids.tolist() == [1, 0]
    assert b.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"name": "polygon", "all_points_x": [3, 9, 6], "all_points_y": [8, 1, 4]}, (3, 1, 9, 8)),
        ({"name": "circle", "cx": 10, "cy": 9, "r": 2.5}, (7.5, 6.5, 12.5, 11.5)),
        ({"name": "ellipse", "cx": 10, "cy": 9, "rx": 4, "ry": 2}, (6, 7, 14, 11)),
        # A quarter turn swaps the radii.
        (
            {"name": "ellipse", "cx": 10, "cy": 9, "rx": 4, "ry": 2, "theta": math.pi / 2},
            (8, 5, 12, 13),
        ),
        # At 45°, half of the width is √(4² / 2 + 2² / 2) = √10.
        (
            {"name": "ellipse", "cx": 10, "cy": 9, "rx": 4, "ry": 2, "theta": math.pi / 4},
            (10 - 10**0.5, 9 - 10**0.5, 10 + 10**0.5, 9 + 10**0.5),
        ),
    ],
)
def test_outlines(tmp_path: Path, via_folder, shape: dict[str, Any], box: tuple[float]) -> None:
    via_folder(records(a=[region(shape, kind="dog"), region(kind="cat")]))
    dataset = open_dataset(tmp_path / "set.yaml", "train")
    assert dataset.samples[0].boxes_xyxy[0].tolist() == pytest.approx(box)
    assert f"outlines ({shape['name']}) read as the boxes around them: 1" in dataset.report
    assert "images that via.json does not name, left out: 1" in dataset.report


@pytest.mark.parametrize(
    "regions",
    [
        [region(type="cat"), region(type="dog", note="far")],
        [region(type="cat", note=""), region(type="dog", note="")],
        [region(type="cat", note={}), region(type={"dog": True, "cat": False})],
    ],
)
def test_the_attribute_of_all_regions_is_the_class(
    tmp_path: Path, via_folder, regions: list[Any]
) -> None:
    via_folder(records(a=regions))
    assert open_dataset(tmp_path / "set.yaml", "train").samples[0].class_ids.tolist() == [0, 1]


AMBIGUOUS = records(a=[region(type="cat", color="red"), region(type="dog", color="blue")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            AMBIGUOUS,
            "the class of its 2 regions may be the attribute 'color' (in 2) or 'type' (in 2); a "
            "data.yaml says which: SPLIT: {via: FILE, via_class: ATTRIBUTE, images: FOLDER}",
        ),
        (
            records(a=[region(type="cat"), region(kind="dog"), region(kind="dog")]),
            "the class of its 3 regions may be the attribute 'kind' (in 2) or 'type' (in 1); a "
            "data.yaml says which: SPLIT: {via: FILE, via_class: ATTRIBUTE, images: FOLDER}",
        ),
        (
            records(a=[region()], b=[region()]),
            "none of 2 regions has an attribute that says its class; a data.yaml with one name "
            "gives it to all of them: names: [NAME], SPLIT: {via: FILE, images: FOLDER}",
        ),
    ],
)
def test_a_class_in_doubt(tmp_path: Path, via_folder, content: Any, message: str) -> None:
    file = via_folder(content)
    for data in (tmp_path / "set.yaml", tmp_path):
        with pytest.raises(DetectorError) as caught:
            open_dataset(data, "train")
        assert str(caught.value) == f"{file}: {message}"
        (tmp_path / "set.yaml").rename(tmp_path / "set.txt") if data != tmp_path else None


def test_the_definition_says_what_the_class_is(tmp_path: Path, via_folder) -> None:
    via_folder(AMBIGUOUS, more=", via_class: type")
    assert open_dataset(tmp_path / "set.yaml", "train").samples[0].class_ids.tolist() == [0, 1]
    via_folder(AMBIGUOUS, more=", via_class: types")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{tmp_path / 'via.json'}: no region has the attribute 'types'; did you mean 'type'?"
    )
    via_folder(records(a=[region(), region({**RECT, "x": 5})]), names="[balloon]")
    assert open_dataset(tmp_path / "set.yaml", "train").samples[0].class_ids.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("images: images, via_class: a", "via_class needs via, a file of the VGG Image Annotator"),
        ("via: via.json, labels: images", "labels does not go with via"),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, make_image, place: str, message: str) -> None:
    make_image("images/a.png")
    (tmp_path / "set.yaml").write_text(f"names: [a]\ntrain: {{{place}}}\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path / "set.yaml")
    assert str(caught.value) == f"{tmp_path / 'set.yaml'}:2: {message}"


POLYGON = {"name": "polygon", "all_points_x": [1, 2, 3]}


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        (
            {"name": "polyline", "all_points_x": [1], "all_points_y": [1]},
            "cat",
            "shape 'polyline', expected one of: rect, polygon, circle, ellipse",
        ),
        ("x", "cat", "shape None, expected one of: rect, polygon, circle, ellipse"),
        (
            {"name": ["rect"]},
            "cat",
            "shape ['rect'], expected one of: rect, polygon, circle, ellipse",
        ),
        (
            {"name": "rect", "x": 1, "y": 2, "width": 3},
            "cat",
            "height: None is not a finite number",
        ),
        ({**RECT, "x": "1"}, "cat", "x: '1' is not a finite number"),
        ({**RECT, "x": True}, "cat", "x: True is not a finite number"),
        ({**RECT, "x": 10**400}, "cat", f"x: 1{'0' * 56}... is not a finite number"),
        ({**RECT, "x": math.nan}, "cat", "x: nan is not a finite number"),
        ({"name": "circle", "cx": 1, "cy": 2, "r": -3}, "cat", "the radius -3 is negative"),
        (POLYGON, "cat", "all_points_y: None, expected a list of numbers"),
        (
            {**POLYGON, "all_points_y": [1]},
            "cat",
            "3 x and 1 y of points, expected as many of each",
        ),
        (RECT, "", "kind: None, expected the name of a class"),
        (RECT, [1], "kind: [1], expected the name of a class"),
        (RECT, {"cat": True, "dog": True}, "kind: 2 classes, expected one"),
        (RECT, "cap", "class 'cap' is not among the names; did you mean 'cat'?"),
        (
            {"name": "rect", "x": 0.1, "y": 0.2, "width": 0.1, "height": 0.1},
            "cat",
            "box (0.1, 0.2, 0.2, 0.3) has fractions of the image, expected pixels",
        ),
    ],
)
def test_an_invalid_region(tmp_path: Path, via_folder, shape: Any, kind: Any, message: str) -> None:
    file = via_folder(
        records(b=[region(kind="dog")], a=[region(kind="dog"), region(shape, kind=kind)])
    )
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    expected = f"'a.png': regions[1]: {message}"
    assert str(caught.value) == f"{file}: {expected} (--skip-bad leaves it out)"
    dataset = open_dataset(tmp_path / "set.yaml", "train", skip_bad=True)
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[1], [1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n", ":2: JSON syntax: Expecting property name enclosed in double quotes"),
        ("[" * 100_000, ": is not a VIA annotation file"),
        ("[1]", ": no images with 'filename' and 'regions', expected a VIA annotation file"),
        ("{}", ": no images with 'filename' and 'regions', expected a VIA annotation file"),
        ({"_via_img_metadata": {}}, ": is empty, expected images"),
        ({"a": {"filename": 1, "regions": []}}, ": filename: 1, expected the name of an image"),
        ({"a": {"filename": "/", "regions": []}}, ": filename: '/', expected the name of an image"),
        (
            {"a": {"filename": "x/" * 2048 + "a", "regions": []}},
            f": filename: '{'x/' * 28}..., expected the name of an image",
        ),
        (records(a=None), ": 'a.png': regions: None, expected a list or a mapping"),
    ],
)
def test_a_file_that_cannot_be_read(via_folder, content: Any, message: str) -> None:
    file = via_folder(content)
    with pytest.raises(DetectorError) as caught:
        via.read_file(file)
    assert str(caught.value) == f"{file}{message}"


def test_missing_images_and_limits(tmp_path: Path, via_folder, monkeypatch) -> None:
    file = via_folder(records(c=[region(kind="cat")], a=[region(kind="cat")]))
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{file}: no image 'c.png', looked for at {tmp_path / 'images/c.png'} "
        "(--skip-bad leaves it out)"
    )
    monkeypatch.setattr(via, "MAX_VIA_BYTES", 10)
    with pytest.raises(DetectorError) as caught:
        via.read_file(file)
    assert str(caught.value) == f"{file}: has more than 10 bytes"


def test_folders_of_splits(tmp_path: Path, make_image) -> None:
    for folder, kind in (("train", "dog"), ("val", "cat")):
        make_image(f"{folder}/a.png")
        content = records(a=[region(kind=kind)])
        (tmp_path / folder / "via_region_data.json").write_text(json.dumps(content))
        (tmp_path / folder / "other.json").write_text("{}")
    definition = load_definition(tmp_path)
    assert definition.splits == {
        split: (Split(via=f"{split}/via_region_data.json", images=split),)
        for split in ("train", "val")
    }
    assert definition.names == ("cat", "dog")
    assert definition.notes == (
        f"{tmp_path}: train: VIA JSON, train/via_region_data.json with the images in train",
        f"{tmp_path}: val: VIA JSON, val/via_region_data.json with the images in val",
        "class names are those of the regions, sorted",
    )
    assert open_dataset(definition, "train").samples[0].class_ids.tolist() == [1]


NUMBERS = st.integers(0, 9999)
CLASSES = st.text(min_size=1, max_size=8).map(str.strip).filter(bool)


@given(
    images=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(is_image_path),
        st.lists(st.tuples(CLASSES, NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=3),
        min_size=1,
        max_size=3,
    ),
    is_first_version=st.booleans(),
    is_project=st.booleans(),
)
def test_written_boxes_come_back(
    tmp_path_factory, images, is_first_version: bool, is_project: bool
) -> None:
    content: dict[str, Any] = {}
    for name, boxes in images.items():
        regions: Any = [
            region({"name": "rect", "x": x, "y": y, "width": w, "height": h}, kind=text)
            for text, x, y, w, h in boxes
        ]
        if is_first_version:
            regions = {str(index): found for index, found in enumerate(regions)}
        content[f"{name}9"] = {"filename": name, "regions": regions}
    file = tmp_path_factory.mktemp("via") / "via.json"
    file.write_text(json.dumps({"_via_img_metadata": content} if is_project else content))
    found = via.read_file(file)
    assert [image.name for image in found] == list(images)
    for image, boxes in zip(found, images.values(), strict=True):
        assert not image.issues
        assert [(box.class_name, box.box_xyxy) for box in image.boxes] == [
            (text, (x, y, x + w, y + h)) for text, x, y, w, h in boxes
        ]


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        (json.dumps(records(a=[])), True),
        ("\ufeff \n" + json.dumps({"_via_settings": {}, via.PROJECT_KEY: records(a=[])}), True),
        ('{"images": [{"file_name": "a.png"}]}', False),
        (f"[{json.dumps(records(a=[]))}]", False),
        ("", False),
    ],
)
def test_other_files_are_told_by_their_beginnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_read: bool
) -> None:
    file = tmp_path / "a.json"
    file.write_text(text, encoding="utf-8")
    assert via.is_via_file(file) == is_read
    read: list[Path] = []
    monkeypatch.setattr(via, "read_json", lambda path, *_: read.append(path))
    via.is_via_file(file)
    assert read == [file] * is_read
