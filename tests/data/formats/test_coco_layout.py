"""COCO JSON in a folder without a definition: under any name, at the root, beside the images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats import coco
from detector.data.formats.definition import load_definition
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError


def write_json(path: Path, images: Sequence[str], boxes: bool = True) -> None:
    """Write an annotation file with one class and one box for each image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    box = {"category_id": 1, "bbox": [1, 2, 10, 5]}
    content = {
        "images": [{"id": n, "file_name": image} for n, image in enumerate(images)],
        "annotations": [{"id": n + 1, "image_id": n, **box} for n in range(len(images) * boxes)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("train", "val", "folders"),
    [
        ("train.json", "val.json", ("train", "val")),
        ("train.json", "val.json", ("images/train", "images/val")),
        ("pets-train.json", "pets-valid.json", ("train2017", "val2017")),
        ("train_annotations.coco.json", "val_annotations.coco.json", ("train", "val")),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", ("train", "valid")),
        ("annotations/train/pets.json", "annotations/val/pets.json", ("train", "val")),
        ("pets/train/labels.json", "pets/test/labels.json", ("pets/train", "pets/test")),
    ],
)
def test_files_named_after_splits(
    tmp_path: Path, make_image, train: str, val: str, folders: tuple[str, str]
) -> None:
    for folder, name in zip(folders, (train, val), strict=True):
        make_image(f"{folder}/0.png")
        write_json(tmp_path / name, ["0.png"])
    other = "test" if "test" in val else "val"
    assert load_definition(tmp_path).splits == {
        "train": (Split(annotations=train, images=folders[0]),),
        other: (Split(annotations=val, images=folders[1]),),
    }
    assert len(open_dataset(tmp_path, other)) == 1


@pytest.mark.parametrize(
    ("name", "folder", "form"),
    [
        ("result.json", "images", "{}.png"),
        ("result.json", "images", "images/{}.png"),
        ("result.json", "images", "images\\{}.png"),
        ("result.json", "images", "/home/me/images/{}.png"),
        ("_annotations.coco.json", ".", "{}.png"),
        ("any name.json", "images/deep", r"deep\{}.png"),
    ],
)
def test_one_file_of_any_name_is_divided(
    tmp_path: Path, make_image, name: str, folder: str, form: str
) -> None:
    for number in range(5):
        make_image(f"{folder}/{number}.png")
    write_json(tmp_path / name, [form.format(number) for number in range(5)])
    train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (4, 1)
    assert all(len(sample.class_ids) == 1 for sample in (*train.samples, *val.samples))
    amended = [line for line in train.report if line.startswith("listed images found by")]
    if "\\" in form:
        end = form.format(0).replace("\\", "/")
        assert amended == [
            f"listed images found by the ends of their paths, such as {end} for {form.format(0)}: 5"
        ]
    assert bool(amended) == ("\\" in form or form.startswith("/"))


def test_names_in_a_definition_may_have_backslashes(tmp_path: Path, make_image) -> None:
    make_image("images/a/0.png")
    write_json(tmp_path / "all.json", [r"a\0.png", r"b\0.png"])
    (tmp_path / "set.yaml").write_text("train: {annotations: all.json, images: images}\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{tmp_path}/images/b\\0.png: cannot be read: No such file or directory "
        "(--skip-bad leaves it out)"
    )
    (sample,) = open_dataset(tmp_path / "set.yaml", "train", skip_bad=True).samples
    assert sample.path == tmp_path / "images/a/0.png"


@pytest.mark.parametrize("name", ["a" * 3000, "a/" * 100_000 + "0.png", "a\0.png"])
def test_names_that_no_file_can_have(tmp_path: Path, make_image, name: str) -> None:
    make_image("0.png")
    write_json(tmp_path / "all.json", [name, "0.png"])
    (tmp_path / "set.yaml").write_text("train: {annotations: all.json, images: .}\n")
    assert len(open_dataset(tmp_path / "set.yaml", "train", skip_bad=True)) == 1
    (tmp_path / "set.yaml").unlink()
    with pytest.raises(DetectorError, match="all.json is left out: its first image, '.*, is in no"):
        load_definition(tmp_path)


def test_a_whole_name_counts_before_the_end_of_a_name(tmp_path: Path, make_image) -> None:
    make_image("left/0.png")
    make_image("a/left/0.png")
    write_json(tmp_path / "result.json", ["a/left/0.png"])
    assert load_definition(tmp_path).splits["train"][0].images == "."


def test_backslashes_do_not_hide_a_shared_image(tmp_path: Path, make_image) -> None:
    make_image("images/train/0.png")
    train, val = (tmp_path / f"annotations/instances_{split}.json" for split in ("train", "val"))
    write_json(train, ["0.png"])
    write_json(val, [r"set\0.png"])
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{val}: its image {tmp_path / 'images/train/0.png'} is in {train}, which is of split "
        "'train', too; expected images of its own"
    )


def test_a_file_without_images_is_named(tmp_path: Path, make_image) -> None:
    """As in COCO, of which many people have val2017 alone."""
    make_image("val2017/0.png")
    for split in ("train", "val"):
        write_json(tmp_path / f"annotations/instances_{split}2017.json", ["0.png"])
    write_json(tmp_path / "annotations/instances_train2017.json", ["1.png"])
    definition = load_definition(tmp_path)
    assert list(definition.splits) == ["val"]
    assert (
        "annotations/instances_train2017.json is left out: its first image, '1.png', is in no "
        "folder here"
    ) in definition.notes


def test_three_folders_of_one_split_keep_their_files(tmp_path: Path, make_image) -> None:
    for number in (1, 2, 3):
        make_image(f"train{number}/{number}.png")
        write_json(tmp_path / f"train{number}/_annotations.coco.json", [f"{number}.png"])
    assert list(load_definition(tmp_path).splits) == [
        "train",
        "_annotations.coco",
        "train3/_annotations.coco.json",
    ]


def test_files_of_one_image_each_are_not_the_annotations(tmp_path: Path, make_image) -> None:
    for number in range(9):
        make_image(f"{number}.png")
        (tmp_path / f"{number}.png.json").write_text("broken")
        write_json(tmp_path / f"{number}.json", [f"{number}.png"])
    write_json(tmp_path / "result.json", [f"{number}.png" for number in range(9)])
    assert load_definition(tmp_path).splits["train"][0].annotations == "result.json"


def test_yolo_labels_count_before_a_file_at_the_root(tmp_path: Path, make_image) -> None:
    make_image("images/train/0.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/0.txt").write_text("0 .5 .5 .1 .1\n")
    write_json(tmp_path / "predictions.json", ["0.png"])
    assert load_definition(tmp_path).splits["train"] == (Split(images="images/train"),)


def test_files_of_neither_train_nor_val(tmp_path: Path, make_image) -> None:
    for name in ("test", "extra"):
        make_image(f"{name}/0.png")
        write_json(tmp_path / f"annotations/{name}.json", ["0.png"])
    definition = load_definition(tmp_path)
    assert definition.splits == {
        name: (Split(annotations=f"annotations/{name}.json", images=name),)
        for name in ("extra", "test")
    }
    assert not any("the same list" in note for note in definition.notes)


BROKEN = "cannot be used: JSON syntax: Expecting property name enclosed in double quotes in line 2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"images": [],\n', BROKEN),
        (
            '{"images": [{"id": "7"}], "annotations": [], "categories": []}',
            "cannot be used: images[0]: id is '7', expected int",
        ),
        (
            '{"images": [], "annotations": [{"caption": "a cat"}]}',
            "cannot be used: no list of 'categories', expected a COCO annotation file",
        ),
        ("\x80", "cannot be used: is not a COCO annotation file"),
    ],
)
@pytest.mark.parametrize("place", ["annotations/instances_", "annotations/", ""])
def test_an_unusable_file_is_named(
    tmp_path: Path, make_image, place: str, text: str, reason: str
) -> None:
    for split in ("train", "val"):
        make_image(f"{split}/0.png")
        write_json(tmp_path / f"{place}{split}.json", ["0.png"])
    assert not any("cannot be used" in note for note in load_definition(tmp_path).notes)
    (tmp_path / f"{place}train.json").write_text(text, encoding="latin-1")
    definition = load_definition(tmp_path)
    assert list(definition.splits) == ["val"]
    assert [note for note in definition.notes if "cannot be used" in note] == [
        f"{place}train.json {reason}"
    ]


def test_an_unusable_file_is_named_beside_another_layout(tmp_path: Path, make_image) -> None:
    make_image("images/train/0.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/0.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/train.json").write_text('{"images": [],\n')
    definition = load_definition(tmp_path)
    assert definition.splits["train"] == (Split(images="images/train"),)
    assert definition.notes[1] == f"annotations/train.json {BROKEN}"


@pytest.mark.parametrize("text", ["{}", "[]", '{"images": []}', '{"info": 1, "licenses": []}', "7"])
def test_files_of_other_kinds_are_passed_over(tmp_path: Path, make_image, text: str) -> None:
    make_image("train/0.png")
    write_json(tmp_path / "annotations/train.json", ["0.png"])
    (tmp_path / "annotations/other.json").write_text(text)
    (tmp_path / "annotations/folder.json").mkdir()
    notes = load_definition(tmp_path).notes
    assert not any("other.json" in note or "folder.json" in note for note in notes)


def test_many_unusable_files_are_counted(tmp_path: Path, make_image) -> None:
    make_image("0.png")
    write_json(tmp_path / "marks/all.json", ["0.png"])
    for number in range(8):
        (tmp_path / f"marks/{number}x.json").write_text('{"images": [],\n')
    notes = load_definition(tmp_path).notes
    assert [note for note in notes if "cannot be used" in note] == [
        *(f"marks/{number}x.json {BROKEN}" for number in range(5)),
        "3 more JSON files cannot be used",
    ]


def test_each_file_is_read_once(
    tmp_path: Path, make_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two patterns find those in ``annotations/``."""
    make_image("images/0.png")
    write_json(tmp_path / "annotations/all.json", ["7.png"])
    write_json(tmp_path / "marks/all.json", ["0.png"])
    read: list[Path] = []

    def read_any(file: Path) -> coco.CocoFile | None:
        read.append(file)
        return coco.read_file(file)

    monkeypatch.setattr(coco, "read_any", read_any)
    notes = load_definition(tmp_path).notes
    assert [note for note in notes if "is left out" in note] == [
        "annotations/all.json is left out: its first image, '7.png', is in no folder here"
    ]
    assert read == [tmp_path / "annotations/all.json", tmp_path / "marks/all.json"]
