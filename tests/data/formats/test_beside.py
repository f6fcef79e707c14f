"""YOLO txt files beside images, with darknet's obj.data or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.beside import folders_of_pairs
from detector.data.formats.definition import load_definition
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError


@pytest.fixture
def make_pairs(tmp_path: Path, make_image):
    """Write images ``0.png`` … into a folder, each with a label file beside it."""

    def make(folder: str, count: int = 5, text: str = "1 .5 .5 .5 .5\n") -> None:
        for number in range(count):
            make_image(f"{folder}/{number}.png").with_suffix(".txt").write_text(text)

    return make


def beside(folder: str, *part: float) -> tuple[Split, ...]:
    """Return the only place of a split whose labels are beside the images."""
    more = {"part": part, "seed": 0} if part else {}
    return (Split(images=folder, labels=folder, **more),)


@pytest.mark.parametrize("folder", [".", "images", "obj_train_data", "a/b"])
@pytest.mark.parametrize("names", ["classes.txt", "obj.names", "_darknet.labels"])
@pytest.mark.parametrize("is_above", [True, False])
def test_one_folder_is_divided(
    tmp_path: Path, make_pairs, make_image, folder: str, names: str, is_above: bool
) -> None:
    make_pairs(folder)
    make_image("preview/0.png")
    (tmp_path / ("." if is_above else folder) / names).write_text("cat\ndog\n")
    definition = load_definition(tmp_path)
    assert definition.names == ("cat", "dog")
    assert definition.splits == {
        "train": beside(folder, 0.0, 0.8),
        "val": beside(folder, 0.8, 1.0),
    }
    if folder != ".":
        assert "images of no split, left out: preview" in definition.notes
        train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
        assert (len(train), len(val)) == (4, 1)
        # 40 · (0.5 ± 0.25) = 10, 30; 20 · (0.5 ± 0.25) = 5, 15
        assert train.samples[0].boxes_xyxy.tolist() == [[10, 5, 30, 15]]
        assert train.samples[0].class_ids.tolist() == [1]


def test_labels_of_a_neighbour_are_not_those_of_the_set(tmp_path: Path, make_pairs) -> None:
    make_pairs("set")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/0.txt").write_text("0 .5 .5 .1 .1\n")
    train = open_dataset(tmp_path / "set", "train")
    assert all(sample.class_ids.tolist() == [1] for sample in train.samples)


def test_folders_of_splits(tmp_path: Path, make_pairs) -> None:
    for folder in ("train/x", "train/y", "valid", "more"):
        make_pairs(folder)
    definition = load_definition(tmp_path)
    assert definition.splits == {"train": beside("train"), "val": beside("valid")}
    assert "images of no split, left out: more" in definition.notes


def test_folders_of_splits_below_a_folder(tmp_path: Path, make_pairs) -> None:
    for folder in ("images/train1", "images/train2", "images/val"):
        make_pairs(folder)
    assert load_definition(tmp_path).splits == {
        "train": beside("images/train1") + beside("images/train2"),
        "val": beside("images/val"),
    }


@pytest.mark.parametrize(
    ("text", "is_label"),
    [("1 .5 .5 .5 .5", True), ("", False), ("a photo of a cat", False), ("1 2 3 4", False)],
)
def test_captions_are_no_labels(tmp_path: Path, make_pairs, text: str, is_label: bool) -> None:
    make_pairs(".", text=text)
    assert folders_of_pairs(tmp_path) == ([tmp_path] if is_label else [])


# ------------------------------------------------------------------------------------ obj.data


def write_data(folder: Path, name: str, **keys: str) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in keys.items())
    (folder / name).write_text(f"classes= 2\n{text}backup = backup/\n")


def write_list(path: Path, prefix: str, count: int) -> None:
    path.write_text("".join(f"{prefix}/{number}.png\n" for number in range(count)))


@pytest.mark.parametrize("place", ["", "data/"])
def test_lists_of_obj_data(tmp_path: Path, make_pairs, place: str) -> None:
    """CVAT's paths begin with data/ though the folder is not there, Yolo_mark's folder is."""
    make_pairs(f"{place}obj_train_data")
    make_pairs(f"{place}obj_valid_data", 2)
    folder = tmp_path / place
    for name, count in (("train", 5), ("valid", 2)):
        write_list(folder / f"{name}.txt", f"data/obj_{name}_data", count)
    (folder / "obj.names").write_text("cat\ndog\n")
    lists = {"train": "data/train.txt", "valid": "data/valid.txt"}
    write_data(folder, "obj.data", **lists, names="data/obj.names")
    definition = load_definition(tmp_path)
    assert definition.names == ("cat", "dog")
    assert definition.splits == {
        "train": (Split(list_file=f"{place}train.txt"),),
        "val": (Split(list_file=f"{place}valid.txt"),),
    }
    train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (5, 2)
    assert sum(len(sample.class_ids) for sample in train.samples) == 5
    amended = (
        "listed images found by the ends of their paths, such as obj_train_data/0.png for "
        "data/obj_train_data/0.png: 5"
    )
    assert (amended in train.report) == (place == "")


def test_a_train_list_alone_is_divided(tmp_path: Path, make_pairs) -> None:
    make_pairs("img")
    write_list(tmp_path / "train.txt", "img", 5)
    write_data(tmp_path, "obj.data", train="train.txt")
    definition = load_definition(tmp_path)
    assert definition.splits["val"] == (Split(list_file="train.txt", part=(0.8, 1.0), seed=0),)
    assert (
        "no list for val: 80% of the images, shuffled with seed 0, are train, the others val"
        in definition.notes
    )
    assert [len(open_dataset(tmp_path, split)) for split in ("train", "val")] == [4, 1]
    write_data(tmp_path, "obj.data", train="train.txt", valid="train.txt")
    assert "train and val are the same list, train.txt" in load_definition(tmp_path).notes


@pytest.mark.parametrize("key", ["train", "valid"])
def test_a_list_that_does_not_exist(tmp_path: Path, make_pairs, key: str) -> None:
    make_pairs("data/img")
    write_list(tmp_path / "data/train.txt", "img", 5)
    write_data(tmp_path / "data", "obj.data", **{"test": "", key: "data/none.txt"})
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'data/obj.data'}:3: {key}: no list 'data/none.txt', expected one of images; "
        f"{tmp_path / 'data'} holds img/, obj.data, train.txt"
    )


@pytest.mark.parametrize(
    "names", ["marks/pets.txt", "data/marks/pets.txt", "C:\\x\\marks\\pets.txt"]
)
def test_the_class_file_of_obj_data(tmp_path: Path, make_pairs, names: str) -> None:
    make_pairs("img")
    write_list(tmp_path / "train.txt", "img", 5)
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/pets.txt").write_text("cat\ndog\n")
    write_data(tmp_path, "obj.data", train="train.txt", names=names)
    definition = load_definition(tmp_path)
    assert definition.names == ("cat", "dog")
    assert definition.notes[-1] == "class names are from marks/pets.txt"
    (tmp_path / "obj.names").write_text("a\nb\n")  # which obj.data does not name
    assert load_definition(tmp_path).names == ("cat", "dog")
    write_data(tmp_path, "obj.data", train="train.txt", names="")
    assert load_definition(tmp_path).names == ("a", "b")


def test_a_class_file_of_obj_data_that_does_not_exist(tmp_path: Path, make_pairs) -> None:
    make_pairs("img")
    write_list(tmp_path / "train.txt", "img", 5)
    write_data(tmp_path, "obj.data", train="train.txt", names="data/obj.names")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'obj.data'}:3: names: no file 'data/obj.names', expected one of class "
        f"names; {tmp_path} holds img/, obj.data, train.txt"
    )
    write_data(tmp_path, "obj.data", names="data/obj.names")  # without lists, another program's
    assert load_definition(tmp_path).splits["train"] == beside("img", 0.0, 0.8)


def test_two_files_of_lists(tmp_path: Path, make_pairs) -> None:
    make_pairs("img")
    write_list(tmp_path / "train.txt", "img", 5)
    for name in ("a.data", "b.data"):
        write_data(tmp_path, name, train="train.txt")
    (tmp_path / "c.data").write_bytes(b"\xff\x00")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: {tmp_path / 'a.data'} and {tmp_path / 'b.data'} both name lists of images"
    )
    (tmp_path / "b.data").unlink()
    assert load_definition(tmp_path).splits["train"][0].list_file == "train.txt"
