"""Definitions whose paths lead nowhere: what is read instead, and what an error says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.data.formats.moved import MAX_PARTS, existing_end, existing_ends
from detector.data.formats.splits import Split
from detector.data.formats.written_paths import contents
from detector.utils.errors import DetectorError


def define(folder: Path, text: str) -> Path:
    path = folder / "set.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (".", None),
        ("images", "images"),
        ("../images", "images"),
        ("/content/pets/images", "images"),
        ("/content/train/images", "train/images"),
        (r"C:\pets\train\images", "train/images"),
        ("train\\images", "train/images"),
        ("a/../images", "images"),
        ("images/..", None),
        # not the folder of all splits in place of that of one
        ("/content/val/images", None),
        ("/content/pets", None),
    ],
)
def test_the_longest_end_that_exists(tmp_path: Path, text: str, expected: str | None) -> None:
    for folder in ("images", "train/images"):
        (tmp_path / folder).mkdir(parents=True)
    assert existing_end(text, [tmp_path]) == expected


def test_all_ends(tmp_path: Path) -> None:
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    assert list(existing_ends("a/b/c", [tmp_path])) == ["b/c", "c"]


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/content/drive/MyDrive/pets", "pets"),
        ("../pets", "pets"),
        ("/content/cars", "."),
        # its end exists, but holds no split
        ("/content/empty", "."),
    ],
)
def test_a_path_that_leads_nowhere(tmp_path: Path, make_image, path: str, root: str) -> None:
    (tmp_path / "empty").mkdir()
    make_image(f"{root}/images/train/a.png")
    file = define(tmp_path, f"path: {path}\nnames: [cat]\ntrain: images/train\nval: images/val\n")
    definition = load_definition(file)
    assert definition.root == tmp_path / root
    assert definition.notes == (
        f"path: {tmp_path / path} does not exist, read as {tmp_path / root}",
    )
    (tmp_path / root / "images").rename(tmp_path / "gone")
    with pytest.raises(DetectorError) as caught:
        open_dataset(file, "train")
    held = "empty/, gone/, pets/, set.yaml" if root == "pets" else "empty/, gone/, set.yaml"
    assert str(caught.value) == (
        f"{file}:1: the folder {tmp_path / path} does not exist; {tmp_path} holds {held}; "
        "--data-root DIR sets the data's folder"
    )


def test_a_path_that_exists_is_read_as_written(tmp_path: Path, make_image) -> None:
    make_image("inner/images/a.png")
    make_image("images/a.png")
    definition = load_definition(define(tmp_path, "path: inner\nnames: [cat]\ntrain: images\n"))
    assert definition.root == tmp_path / "inner"
    assert definition.notes == ()


def test_splits_that_lead_nowhere(tmp_path: Path, make_image) -> None:
    make_image("train/images/a.png")
    make_image("more/a.png")
    (tmp_path / "test.txt").write_text("more/a.png\n")
    text = (
        "names: [cat]\n"
        "train: [/content/pets/train/images, more]\n"
        "val: ../valid/images\n"
        "splits: {test: /content/pets/test.txt}\n"
    )
    file = define(tmp_path, text)
    definition = load_definition(file)
    assert definition.splits == {
        "test": (Split(list_file="test.txt"),),
        "train": (Split(images="train/images"), Split(images="more")),
        "val": (Split(images="../valid/images"),),
    }
    assert definition.notes == (
        "splits.test: /content/pets/test.txt does not exist, read as test.txt",
        "train.0: /content/pets/train/images does not exist, read as train/images",
    )
    with pytest.raises(DetectorError) as caught:
        open_dataset(file, "val")
    assert str(caught.value) == (
        f"{file}:3: split 'val': {tmp_path}/../valid/images does not exist; "
        f"{tmp_path} holds more/, train/, set.yaml, test.txt"
    )


@pytest.mark.parametrize(
    ("train", "val"), [("/a/images", "/b/images"), ("images", "/b/images"), ("/a/images", "images")]
)
def test_two_splits_that_may_be_one_folder(
    tmp_path: Path, make_image, train: str, val: str
) -> None:
    make_image("images/a.png")
    file = define(tmp_path, f"names: [cat]\ntrain: {train}\nval: {val}\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(file)
    assert str(caught.value) == (
        f"{file}:3: {val} and {train} may both be {tmp_path / 'images'}, expected paths that exist"
    )
    # who writes the same twice means it
    same = define(tmp_path, f"names: [a]\ntrain: {train}\nval: {train}\n")
    assert len(load_definition(same).splits) == 2


def test_a_missing_path_of_a_place_with_keys(tmp_path: Path, make_image) -> None:
    make_image("images/a.png")
    text = "names: [cat]\nsplits:\n  train:\n    images: images\n    labels: marks\n"
    file = define(tmp_path, text)
    with pytest.raises(DetectorError) as caught:
        open_dataset(file, "train")
    assert str(caught.value) == (
        f"{file}:3: split 'train': {tmp_path / 'marks'} does not exist; "
        f"{tmp_path} holds images/, set.yaml"
    )


def test_contents(tmp_path: Path) -> None:
    assert contents(tmp_path) == f"{tmp_path} holds nothing"
    (tmp_path / "z").mkdir()
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / ".hidden").touch()
    named = ", ".join(f"{number}.txt" for number in range(7))
    assert contents(tmp_path) == f"{tmp_path} holds z/, {named} and 2 more"


def test_an_end_has_a_largest_number_of_parts(tmp_path: Path) -> None:
    deep = "/".join(["a"] * MAX_PARTS)
    (tmp_path / deep / "a").mkdir(parents=True)
    assert existing_end(f"x/{deep}", [tmp_path]) == deep
    assert existing_end(f"x/{deep}/a", [tmp_path]) == deep


def test_a_path_of_many_parts_takes_linear_time(tmp_path: Path) -> None:
    """Quadratic time would be some minutes."""
    start = time.process_time()
    assert existing_end("b/" * 20_000, [tmp_path]) is None
    assert time.process_time() - start < 20
