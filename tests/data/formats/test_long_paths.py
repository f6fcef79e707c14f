"""Paths that are too long for any file, wherever data name files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.moved import MAX_NAME_BYTES, MAX_PATH_BYTES, is_image_path, is_path
from detector.utils.errors import DetectorError

LONG = ("x" * 300 + ".png", "a/" * 100_000 + "0.png")
"""A name of over 255 bytes, and a path of over 4096."""

XML = (
    "<annotation><object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
    "<ymax>9</ymax></bndbox></object></annotation>"
)


def start(text: str) -> str:
    """Return the quoted beginning of a long text, 60 characters with quote and dots."""
    return f"'{text[:56]}..."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (".", True),
        ("é" * 127, True),  # 254 bytes
        ("é" * 128, False),
        ("x" * MAX_NAME_BYTES, True),
        ("x" * MAX_NAME_BYTES + "x", False),
        (r"a\b/" * 1024, True),  # 4096 bytes
        (r"a\b/" * 1024 + "c", False),
        ("é/" * (MAX_PATH_BYTES // 3) + "cc", False),  # 1365 · 3 + 2 = 4097 bytes
        ("\ud800", True),
        (7, False),
    ],
)
def test_what_can_be_a_path(text: object, expected: bool) -> None:
    assert is_path(text) == expected
    assert is_image_path(text) == (expected and text not in ("", "."))


def make_list(folder: Path, text: str) -> Path:
    (folder / "train.txt").write_text(f"0.png\n{text}\n")
    (folder / "set.yaml").write_text("names: [a]\ntrain: train.txt\n")
    return folder / "train.txt"


def make_class_list(folder: Path, text: str) -> Path:
    (folder / "train.txt").write_text(f"0.png 0\n{text} 0\n")
    (folder / "set.yaml").write_text("names: [a]\ntrain: train.txt\n")
    return folder / "train.txt"


def make_coco(folder: Path, text: str) -> Path:
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(("0.png", text))],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / "all.json").write_text(json.dumps(content))
    (folder / "set.yaml").write_text("train: {annotations: all.json, images: .}\n")
    return folder / "all.json"


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize(
    ("make", "line"), [(make_list, ":2"), (make_class_list, ":2"), (make_coco, "")]
)
def test_listed_images(tmp_path: Path, make_image, text: str, make, line: str) -> None:
    make_image("0.png")
    (tmp_path / "0.txt").write_text("0 .5 .5 .1 .1\n")
    file = make(tmp_path, text)
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{file}{line}: no image {start(text)}, too long for a path (--skip-bad leaves it out)"
    )
    dataset = open_dataset(tmp_path / "set.yaml", "train", skip_bad=True)
    assert [sample.path for sample in dataset.samples] == [tmp_path / "0.png"]
    assert "images dropped (--skip-bad): 1" in dataset.report


TOO_LONG_IN_A_FOLDER = "a/" * 2045 + "7.png"
"""A path of 4095 bytes, which is too long only after that of the data set's folder."""


def test_an_image_of_labelme(tmp_path: Path, make_image) -> None:
    make_image("0.png")
    content = {
        "imagePath": TOO_LONG_IN_A_FOLDER,
        "shapes": [{"label": "a", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}],
    }
    (tmp_path / "0.json").write_text(json.dumps(content))
    (tmp_path / "set.yaml").write_text("names: [a]\ntrain: {labelme: .}\n")
    # The image of the file's name is used, since there is no other one that the file could mean.
    (sample,) = open_dataset(tmp_path / "set.yaml", "train").samples
    assert sample.class_ids.tolist() == [0]
    (tmp_path / "1.json").write_text(json.dumps(content))
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{tmp_path / '1.json'}: no image '1', and none at {tmp_path / TOO_LONG_IN_A_FOLDER} "
        "(--skip-bad leaves it out)"
    )


def test_an_image_of_a_csv_file(tmp_path: Path, make_image) -> None:
    make_image("0.png")
    (tmp_path / "all.csv").write_text(f"0.png,1,1,9,9,a\n{TOO_LONG_IN_A_FOLDER},1,1,9,9,a\n")
    (tmp_path / "set.yaml").write_text("names: [a]\ntrain: {annotations: all.csv, images: .}\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{tmp_path / 'all.csv'}:2: no image {start(TOO_LONG_IN_A_FOLDER)}, looked for at "
        f"{tmp_path / TOO_LONG_IN_A_FOLDER} (--skip-bad leaves it out)"
    )


@pytest.mark.parametrize("text", LONG)
def test_a_list_without_any_image(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.txt").write_text(f"{text}\n")
    (tmp_path / "set.yaml").write_text("names: [a]\ntrain: train.txt\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{tmp_path / 'train.txt'}:1: none of 1 listed images exists; the first, {start(text)}, "
        "was too long for a path"
    )


@pytest.mark.parametrize("text", LONG)
def test_image_sets_of_voc(tmp_path: Path, make_image, text: str) -> None:
    make_image("JPEGImages/0.png")
    for name, content in (
        ("Annotations/0.xml", XML),
        ("ImageSets/Main/train.txt", f"0\n{text.removesuffix('.png')}\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path, "train")
    assert str(caught.value) == (
        f"{tmp_path / 'ImageSets/Main/train.txt'}:2: no image {start(text)} in "
        f"{tmp_path / 'JPEGImages'} (--skip-bad leaves it out)"
    )


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize(
    ("content", "line", "title"),
    [
        ("names: [a]\ntrain: {}\n", 2, ""),
        ("names: [a]\ntrain: [images, {}]\n", 2, ""),
        ("names: [a]\ntrain: {{images: {}}}\n", 2, "images: "),
        ("names: [a]\npath: {}\ntrain: images\n", 2, "path: "),
    ],
)
def test_paths_of_a_definition(
    tmp_path: Path, make_image, text: str, content: str, line: int, title: str
) -> None:
    make_image("images/0.png")
    file = tmp_path / "set.yaml"
    file.write_text(content.format(text))
    with pytest.raises(DetectorError) as caught:
        open_dataset(file, "train")
    assert str(caught.value) == (
        f"{file}:{line}: {title}expected a path of at most 4096 bytes, each part 255, found "
        f"{start(text)}"
    )


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".yaml"])
def test_the_definition_itself(name: str) -> None:
    with pytest.raises(DetectorError) as caught:
        open_dataset(Path(name), "val")
    assert str(caught.value) == f"{name}: no such file"
