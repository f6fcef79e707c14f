"""JSON of labelme."""

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
from detector.data.formats import labelme
from detector.data.formats.definition import load_definition
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError


def shape(label: Any, *points: Any, kind: Any = "rectangle") -> dict[str, Any]:
    return {"label": label, "points": list(points), "shape_type": kind, "group_id": None}


def content(image: Any, *shapes: Any, **more: Any) -> dict[str, Any]:
    size = {"imageHeight": 20, "imageWidth": 40}
    return {"version": "5.0.1", "shapes": list(shapes), "imagePath": image, **size, **more}


@pytest.fixture
def add(tmp_path: Path, make_image) -> Callable[..., Path]:
    """Write a 20×40 image and a JSON file of shapes beside it; return the JSON file."""

    def make(name: str, *shapes: Any, **more: Any) -> Path:
        image = make_image(f"{name}.png")
        file = image.with_suffix(".json")
        file.write_text(json.dumps(content(image.name, *shapes, **more)))
        return file

    return make


def definition(root: Path, place: str = "labelme: .") -> Path:
    (root / "set.yaml").write_text(f"names: [cat, dog]\ntrain: {{{place}}}\n")
    return root / "set.yaml"


def test_a_folder_is_divided(tmp_path: Path, add, make_image) -> None:
    for number in range(5):
        # The corners of a rectangle are in any order; the copy of the image is no base64 at all.
        add(f"{number}", shape("dog", [9, 8], [1.5, 2]), imageData="?" * 1000)
    make_image("more.png")
    found = load_definition(tmp_path)
    assert found.splits == {
        "train": (Split(labelme=".", part=(0, 0.8), seed=0),),
        "val": (Split(labelme=".", part=(0.8, 1), seed=0),),
    }
    assert found.names == ("dog",)
    assert found.notes[-1] == "class names are those of the shapes, sorted"
    train, val = (open_dataset(found, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (4, 1)
    assert train.samples[0].boxes_xyxy.tolist() == [[1.5, 2, 9, 8]]
    assert "images without a labelme file, left out: 1" in train.report


def test_folders_of_splits(tmp_path: Path, add) -> None:
    for folder in ("train", "valid/x"):
        add(f"{folder}/a", shape("cat", [1, 2], [3, 4]))
    assert load_definition(tmp_path).splits == {
        "train": (Split(labelme="train"),),
        "val": (Split(labelme="valid"),),
    }
    assert len(open_dataset(tmp_path, "val")) == 1


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_files_in_folders_of_their_own(tmp_path: Path, make_image, slash: str) -> None:
    for split in ("train", "val"):
        make_image(f"images/{split}/0.png")
        (tmp_path / f"json/{split}").mkdir(parents=True)
        path = f"../../images/{split}/0.png".replace("/", slash)
        text = json.dumps(content(path, shape(split, [1, 2], [3, 4])))
        (tmp_path / f"json/{split}/0.json").write_text(text)
    found = load_definition(tmp_path)
    assert found.splits == {
        split: (Split(labelme=f"json/{split}", images="."),) for split in ("train", "val")
    }
    for split in ("train", "val"):
        (sample,) = open_dataset(found, split).samples
        assert sample.path.samefile(tmp_path / f"images/{split}/0.png")
    file = tmp_path / "json/val/0.json"
    file.write_text(json.dumps(content("0.png", shape("val", [1, 2], [3, 4]))))
    with pytest.raises(DetectorError) as caught:
        open_dataset(found, "val")
    assert str(caught.value) == (
        f"{file}: its image may be {tmp_path / 'images/train/0.png'} or "
        f"{tmp_path / 'images/val/0.png'}, and there is none at {file.parent / '0.png'} "
        "(--skip-bad leaves it out)"
    )
    file.write_text(json.dumps(content("0.png", shape("cat", [1, 2], [3, 4]))))
    place = "labelme: json/val, images: images/val"
    assert len(open_dataset(definition(tmp_path, place), "train")) == 1


@pytest.mark.parametrize(
    ("kind", "points", "box"),
    [
        ("polygon", [[3, 8], [9, 1], [6, 4]], (3, 1, 9, 8)),
        (None, [[3, 8], [9, 1], [6, 4]], (3, 1, 9, 8)),  # as version 3 writes polygons
        ("rotation", [[6, 2], [9, 5], [6, 8], [3, 5]], (3, 2, 9, 8)),
        # The radius is the distance of the points, √(3² + 4²) = 5.
        ("circle", [[10, 9], [13, 13]], (5, 4, 15, 14)),
    ],
)
def test_outlines(tmp_path: Path, add, kind: Any, points: Any, box: tuple[float, ...]) -> None:
    add("a", shape("cat", *points, kind=kind), shape("dog", [1, 2], [3, 4], kind="mask"))
    dataset = open_dataset(definition(tmp_path), "train")
    assert dataset.samples[0].boxes_xyxy.tolist() == [list(box), [1, 2, 3, 4]]
    counted = f"outlines ({kind or 'polygon'}) read as the boxes around them: 1"
    assert counted in dataset.report


EXPECTED_KINDS = "expected one of: rectangle, polygon, circle, rotation, mask"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (1, "1, expected a shape"),
        (shape("cap", [1, 2], [3, 4]), "class 'cap' is not among the names; did you mean 'cat'?"),
        (
            shape(None, [1, 2], [3, 4]),
            "class None is not among the names, expected one of: cat, dog",
        ),
        (shape("cat", [1, 2], [3, 4], kind="line"), f"shape_type 'line', {EXPECTED_KINDS}"),
        (shape("cat", [1, 2], kind="point"), f"shape_type 'point', {EXPECTED_KINDS}"),
        (shape("cat", [1, 2], kind=["x"]), f"shape_type ['x'], {EXPECTED_KINDS}"),
        ({"label": "cat", "points": "x"}, "points: 'x', expected a list"),
        (shape("cat", [1, 2], [3]), "points: [3], expected pairs of numbers"),
        (shape("cat", [1, 2], 3), "points: 3, expected a list of numbers"),
        (shape("cat", [1, 2], [3, "4"]), "points: '4' is not a finite number"),
        (shape("cat", [1, 2], [3, math.inf]), "points: inf is not a finite number"),
        (shape("cat", [1, 2]), "points: 1, expected 2 of a rectangle"),
        (shape("cat", [1, 2], [3, 4], kind="polygon"), "points: 2, expected 3 of a polygon"),
        (shape("cat", [1, 2], [3, 4], [5, 6], kind="circle"), "points: 3, expected 2 of a circle"),
        (
            shape("cat", [0.1, 0.2], [0.3, 0.4]),
            "box (0.1, 0.2, 0.3, 0.4) has fractions of the image, expected pixels",
        ),
    ],
)
def test_an_invalid_shape(tmp_path: Path, add, bad: Any, message: str) -> None:
    file = add("a", shape("dog", [1, 2], [3, 4]), bad)
    data = definition(tmp_path)
    with pytest.raises(DetectorError) as caught:
        open_dataset(data, "train")
    assert str(caught.value) == f"{file}: shapes[1]: {message} (--skip-bad leaves it out)"
    (sample,) = open_dataset(data, "train", skip_bad=True).samples
    assert sample.class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n", ":2: JSON syntax: Expecting property name enclosed in double quotes"),
        ("{}", ": no list of 'shapes' and no 'imagePath', expected a labelme annotation file"),
        ("[" * 100_000, ": is not a labelme annotation file"),
        (
            json.dumps(content("a.png", imageWidth=80)),
            ": labels are of an image of 80×20 pixels, found 40×20",
        ),
        (
            json.dumps(content("b.png")),
            ": imagePath: {root}/b.png, but the image of its name is {root}/a.png, expected the "
            "same",
        ),
    ],
)
def test_a_file_of_an_image(tmp_path: Path, add, text: str, message: str) -> None:
    file = add("a")
    add("b")
    file.write_text(text)
    with pytest.raises(DetectorError) as caught:
        open_dataset(definition(tmp_path), "train")
    expected = message.format(root=tmp_path) if "{root}" in message else message
    assert str(caught.value) == f"{file}{expected} (--skip-bad leaves it out)"


@pytest.mark.parametrize("name", ["c.png", "x" * 300, "x/" * 4000, "a\0b", "\ud800", 7])
def test_a_file_without_an_image(tmp_path: Path, add, name: Any) -> None:
    add("a")
    file = tmp_path / "b.json"
    file.write_text(json.dumps(content(name)))
    with pytest.raises(DetectorError) as caught:
        open_dataset(definition(tmp_path), "train")
    assert str(caught.value).startswith(f"{file}: no image 'b', and none at ")
    file.write_text("{}")
    report = open_dataset(definition(tmp_path), "train").report
    assert "JSON files that are not labelme's, left out: 1" in report


def test_folders_without_files_and_limits(tmp_path: Path, add, make_image, monkeypatch) -> None:
    make_image("x/a.png")
    for folder, message in (
        ("y", f"{tmp_path / 'set.yaml'}:2: split 'train': {tmp_path / 'y'} does not exist; "),
        ("x", f"{tmp_path / 'x'}: no labelme file in this folder"),
    ):
        with pytest.raises(DetectorError) as caught:
            open_dataset(definition(tmp_path, f"labelme: {folder}"), "train")
        assert str(caught.value).startswith(message)
    file = add("x/a")
    monkeypatch.setattr(labelme, "MAX_LABELME_BYTES", 10)
    with pytest.raises(DetectorError) as caught:
        open_dataset(definition(tmp_path, "labelme: x"), "train")
    assert str(caught.value) == f"{file}: has more than 10 bytes (--skip-bad leaves it out)"


def test_other_json_files_are_no_layout(tmp_path: Path, make_image) -> None:
    make_image("a.png").with_suffix(".json").write_text('{"shapes": []}')
    assert labelme.folders_of_files(tmp_path) == []
    with pytest.raises(DetectorError, match="neither a data.yaml nor a known layout"):
        load_definition(tmp_path)


POINTS = st.tuples(st.integers(2, 9999), st.floats(2, 9999, width=32))
LABELS = st.text(min_size=1, max_size=8)


@given(st.lists(st.tuples(LABELS, POINTS, POINTS), max_size=4))
def test_written_boxes_come_back(tmp_path_factory, boxes: list[Any]) -> None:
    file = tmp_path_factory.mktemp("labelme") / "a.json"
    file.with_suffix(".png").touch()
    shapes = [shape(label, one, other) for label, one, other in boxes]
    file.write_text(json.dumps(content("a.png", *shapes)))
    class_ids = {name: i for i, name in enumerate(labelme.class_names([file.parent]))}
    labels = labelme.read_labels(file, file.with_suffix(".png"), (20, 40), class_ids)
    assert [(row.class_id, row.box_xyxy) for row in labels.rows] == [
        (class_ids[label], (*map(min, one, other), *map(max, one, other)))
        for label, one, other in boxes
    ]
