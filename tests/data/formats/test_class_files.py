"""Class names in files of annotation tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.formats.class_files import read_class_file
from detector.data.formats.definition import load_definition
from detector.utils.errors import DetectorError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "name",
    [
        "classes.txt",
        "labels/classes.txt",
        "labels/train/classes.txt",
        "images/train/classes.txt",
        "labels/train/deep/obj.names",
        "_darknet.labels",
        "pets.names",
    ],
)
@pytest.mark.parametrize("is_defined", [False, True])
def test_names_are_found_wherever_they_are(
    tmp_path: Path, make_image, name: str, is_defined: bool
) -> None:
    make_image("images/train/deep/a.png")
    write(tmp_path / "labels/train/deep/a.txt", "1 .5 .5 .1 .1\n")
    write(tmp_path / name, "cat\ndog\n\n")
    write(tmp_path / "other/classes.txt", "of another set\n")
    if is_defined:
        write(tmp_path / "data.yaml", "train: images/train\n")
    definition = load_definition(tmp_path)
    assert definition.names == ("cat", "dog")
    assert definition.notes[-1] == f"class names are from {name}"


def test_labels_in_a_folder_of_their_own(tmp_path: Path, make_image) -> None:
    make_image("pics/a.png")
    write(tmp_path / "marks/a.txt", "2 .5 .5 .1 .1\n")
    write(tmp_path / "data.yaml", "train: {images: pics, labels: marks}\n")
    assert load_definition(tmp_path).names == ("0", "1", "2")
    write(tmp_path / "marks/classes.txt", "cat\ndog\nox\n")
    assert load_definition(tmp_path).names == ("cat", "dog", "ox")


def test_two_files_of_names(tmp_path: Path) -> None:
    assert read_class_file(tmp_path, [tmp_path / "train", tmp_path / "val"]) is None
    first, second = tmp_path / "train/classes.txt", tmp_path / "val/classes.txt"
    for file in (first, second):
        write(file, "cat\ndog\n")
    folders = [file.parent for file in (first, second)]
    assert read_class_file(tmp_path, folders) == (["cat", "dog"], first)
    write(second, "dog\ncat\n")
    with pytest.raises(DetectorError) as caught:
        read_class_file(tmp_path, folders)
    assert str(caught.value) == (
        f"{second}: has other class names than {first}, expected one of the two"
    )


# ------------------------------------------------------------------ definitions of another name


@pytest.mark.parametrize("name", ["pets.yaml", "pets.yml"])
def test_a_definition_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "train").mkdir()
    write(tmp_path / name, "names: [cat]\ntrain: train\n")
    write(tmp_path / "hyp.yaml", "lr0: 0.01\n")
    write(tmp_path / "args.yaml", "train_split: train\n")
    write(tmp_path / "broken.yaml", "train: [\n")
    write(tmp_path / "list.yml", "[train]\n")
    definition = load_definition(tmp_path)
    assert definition.source == str(tmp_path / name)
    assert definition.names == ("cat",)


def test_two_definitions_in_a_folder(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml"):
        write(tmp_path / name, "names: [cat]\ntrain: train\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: a.yaml and b.yml both define splits; --data {tmp_path / 'a.yaml'} names one"
    )
    write(tmp_path / "data.yaml", "names: [dog]\ntrain: train\n")
    assert load_definition(tmp_path).names == ("dog",)
