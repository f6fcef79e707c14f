"""Folders without definition: the layout is recognized, or the error names known layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError


def test_yolo_folder_with_splits_below_images(tmp_path: Path, make_image) -> None:
    make_image("images/train2017/a.png")
    make_image("images/val/b.png")
    make_image("images/other/c.png")
    (tmp_path / "labels/train2017").mkdir(parents=True)
    (tmp_path / "labels/train2017/a.txt").write_text("2 .5 .5 .1 .1\n")
    definition = load_definition(tmp_path)
    assert definition.splits == {
        "train": (Split(images="images/train2017"),),
        "val": (Split(images="images/val"),),
    }
    assert definition.names == ("0", "1", "2")
    assert definition.notes == (
        f"{tmp_path}: train: YOLO txt",
        f"{tmp_path}: val: YOLO txt",
        "images of no split, left out: images/other",
        "no class names found (classes.txt): classes are named by their numbers",
    )
    (tmp_path / "classes.txt").write_text("cat\ndog\n\n")
    assert load_definition(tmp_path).names == ("cat", "dog")


@pytest.mark.parametrize("row", ["999999999 .5 .5 .1 .1", "9" * 5000])
def test_one_row_does_not_make_a_billion_classes(tmp_path: Path, make_image, row: str) -> None:
    make_image("images/train/a.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    file = tmp_path / "labels/train/a.txt"
    file.write_text(f"2 .5 .5 .1 .1\n{row}\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    found = "'999999999'" if " " in row else f"'{'9' * 56}..."
    assert str(caught.value) == f"{file}:2: class {found} without a name, expected 0 to 65535"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("caf\xe9\n".encode("latin-1"), "is not UTF-8 text"),
        (b"\n", "is empty, expected one class name a line"),
    ],
)
def test_a_file_of_names_that_is_none(
    tmp_path: Path, make_image, content: bytes, message: str
) -> None:
    make_image("images/train/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'classes.txt'}: {message}"


def test_yolo_folder_with_splits_above_images(tmp_path: Path, make_image) -> None:
    for split in ("train", "valid", "test"):
        make_image(f"{split}/images/a.png")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels/a.txt").write_text("0 .5 .5 .1 .1\n")
    assert load_definition(tmp_path).splits == {
        "train": (Split(images="train/images"),),
        "val": (Split(images="valid/images"),),
        "test": (Split(images="test/images"),),
    }


def test_a_definition_inside_the_folder_is_used(tmp_path: Path, make_image) -> None:
    make_image("train/images/a.png")
    text = "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['x']\nroboflow: {a: 1}\n"
    (tmp_path / "data.yaml").write_text(text)
    definition = load_definition(tmp_path)
    assert definition.names == ("x",)
    # train lies beside the file in spite of its "../"; val is nowhere and stays as written
    assert definition.splits["train"] == (Split(images="train/images"),)
    assert definition.splits["val"] == (Split(images="../valid/images"),)


def test_yolo_folder_with_lists(tmp_path: Path, make_image) -> None:
    make_image("images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "train.txt").write_text("images/a.png\n")
    assert load_definition(tmp_path).splits == {"train": (Split(list_file="train.txt"),)}


def test_a_folder_without_lists_is_split_with_a_stated_seed(tmp_path: Path, make_image) -> None:
    make_image("images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .1 .1\n")
    definition = load_definition(tmp_path)
    assert definition.splits == {
        "train": (Split(images="images", part=(0, 0.8), seed=0),),
        "val": (Split(images="images", part=(0.8, 1), seed=0),),
    }
    assert definition.notes[2] == (
        "no lists: 80% of the images, shuffled with seed 0, are train, the others val"
    )


def test_coco_folder(tmp_path: Path, make_image) -> None:
    make_image("images/train/a.png")
    make_image("images/val/b.png")
    (tmp_path / "annotations").mkdir()
    for split, name in (("train", "a.png"), ("val", "b.png")):
        content = {
            "images": [{"id": 1, "file_name": name}],
            "annotations": [],
            "categories": [{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        (tmp_path / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    (tmp_path / "annotations/captions_train2017.json").write_text("{}")
    definition = load_definition(tmp_path)
    assert definition.splits == {
        split: (
            Split(annotations=f"annotations/instances_{split}2017.json", images=f"images/{split}"),
        )
        for split in ("train", "val")
    }
    assert definition.names == ("dog", "cat")


@pytest.mark.parametrize("name", ["instances_default", "result"])
def test_one_coco_file_is_split(tmp_path: Path, make_image, name: str) -> None:
    for number in range(5):
        make_image(f"images/{number}.png")
    (tmp_path / "annotations").mkdir()
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(5)],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 9, "bbox": [1, 1, 5, 5]} for n in range(5)
        ],
        "categories": [{"id": 9, "name": "cat"}],
    }
    (tmp_path / f"annotations/{name}.json").write_text(json.dumps(content))
    train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (4, 1)
    assert len(train.ground_truth()["annotations"]) == 4
    found = {sample.image_id for one in (train, val) for sample in one.samples}
    assert found == set(range(5))


def test_voc_folder_with_lists(tmp_path: Path, make_image) -> None:
    make_image("JPEGImages/a.jpg")
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    text = "<annotation><object><name>cow</name></object></annotation>"
    (tmp_path / "Annotations/a.xml").write_text(text)
    for name in ("train", "test", "cow_train"):
        (tmp_path / f"ImageSets/Main/{name}.txt").write_text("a\n")
    definition = load_definition(tmp_path)
    assert definition.splits == {
        name: (
            Split(
                images="JPEGImages",
                annotations="Annotations",
                image_set=f"ImageSets/Main/{name}.txt",
            ),
        )
        for name in ("train", "test")
    }
    assert definition.names == ("cow",)
    assert definition.notes[-1] == "class names are those in the XML files, sorted"


def test_xml_files_in_any_folders(tmp_path: Path, make_image) -> None:
    make_image("pictures/deep/a.jpg")
    (tmp_path / "marks").mkdir()
    text = "<annotation><object><name>cow</name></object></annotation>"
    (tmp_path / "marks/a.xml").write_text(text)
    assert load_definition(tmp_path).splits == {
        "train": (Split(images=".", annotations=".", part=(0, 0.8)),),
        "val": (Split(images=".", annotations=".", part=(0.8, 1)),),
    }


def test_xml_files_beside_images_in_split_folders(tmp_path: Path, make_image) -> None:
    text = "<annotation><object><name>cow</name></object></annotation>"
    for split in ("train", "valid"):
        make_image(f"{split}/a.jpg")
        (tmp_path / split / "a.xml").write_text(text)
    assert load_definition(tmp_path).splits == {
        "train": (Split(images="train", annotations="train"),),
        "val": (Split(images="valid", annotations="valid"),),
    }


def test_a_folder_of_no_known_layout(tmp_path: Path, make_image) -> None:
    make_image("a.jpg")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: neither a data.yaml nor a known layout in this folder, which holds 1 .jpg; "
        "the nearest layout is a folder of images for each class; for boxes, files of labels are "
        "missing: txt (YOLO), XML (Pascal VOC) or JSON (labelme) named like the images, or one "
        "file of all: COCO JSON, VIA JSON or CSV"
    )


def test_texts_and_xml_files_that_are_no_labels_do_not_decide(tmp_path: Path, make_image) -> None:
    for name in ("dog/a.png", "cat/b.png"):
        make_image(name)
    for name in ("README.txt", "cat/LICENSE.txt", "licence.json"):
        (tmp_path / name).write_text("Free for all.")
    (tmp_path / "project.xml").write_text("<project/>")
    definition = load_definition(tmp_path)
    assert definition.splits["train"] == (Split(class_folders=".", part=(0.0, 0.8)),)
    assert definition.names == ("cat", "dog")
    (tmp_path / "all.yaml").write_text("train: .\n")
    assert load_definition(tmp_path / "all.yaml").splits == {"train": (Split(class_folders="."),)}


def test_hidden_folders_do_not_decide(tmp_path: Path, make_image) -> None:
    for name in ("dog/a.png", "cat/b.png", ".cache/images/train/c.png", ".cache/labels/d.png"):
        make_image(name)
    (tmp_path / ".idea").mkdir()
    (tmp_path / ".idea/a.xml").write_text("<annotation/>")
    assert load_definition(tmp_path).names == ("cat", "dog")


def test_linked_split_folders(tmp_path: Path, make_image) -> None:
    make_image("store/cat/a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train").symlink_to("../store")
    definition = load_definition(tmp_path / "set")
    assert definition.splits == {"train": (Split(class_folders="train"),)}
    assert definition.names == ("cat",)


def test_images_in_folders_of_splits_are_no_classes(tmp_path: Path, make_image) -> None:
    for name in ("train/a.jpg", "val/b.jpg"):
        make_image(name)
    with pytest.raises(DetectorError, match="neither a data.yaml nor a known layout in this fold"):
        load_definition(tmp_path)
    make_image("cat/c.jpg")
    assert load_definition(tmp_path).names == ("cat", "train", "val")


def test_real_folders(shared: Path) -> None:
    bccd = load_definition(shared / "data/bccd")
    assert list(bccd.splits) == ["train", "val", "test", "trainval"]
    assert bccd.names == ("Platelets", "RBC", "WBC")
    coco128 = load_definition(shared / "data/coco128")
    # train has YOLO txt only, val an annotation file, which names the classes of both
    assert coco128.splits["train"] == (Split(images="images/train2017"),)
    assert coco128.splits["val"][0].format == "COCO JSON"
    assert coco128.names == load_definition("coco128").names


def test_class_folders_in_split_folders(tmp_path: Path, make_image) -> None:
    for name in ("train/dog/a.png", "valid/cat/b.png"):
        make_image(name)
    definition = load_definition(tmp_path)
    assert definition.names == ("cat", "dog")
    assert definition.splits == {
        "train": (Split(class_folders="train"),),
        "val": (Split(class_folders="valid"),),
    }
    assert definition.notes[-1] == "class names are those of the folders, sorted"


def test_class_folders_without_splits(tmp_path: Path, make_image) -> None:
    for name in ("dog/a.png", "cat/b.png"):
        make_image(name)
    definition = load_definition(tmp_path)
    assert definition.splits == {
        "train": (Split(class_folders=".", part=(0.0, 0.8)),),
        "val": (Split(class_folders=".", part=(0.8, 1.0)),),
    }
    assert "no lists: 80% of the images, shuffled with seed 0, are train, the others val" in (
        definition.notes
    )


# ------------------------------------------------------------- JSON files and the images of which


def coco_file(path: Path, *images: str) -> None:
    """Write an annotation file with one class and no boxes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": n, "file_name": image} for n, image in enumerate(images)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("files", "images", "expected"),
    [
        # the frames of a video tool have the same names in each split
        ("instances_train instances_val", "images/train images/val", "images/train images/val"),
        ("instances_train instances_val", "val/images train/images", "train/images val/images"),
        ("clip_train clip_valid", "images/train images/validation", None),
        # equal names before equal splits
        ("instances_train2017 instances_val", "train2014 train2017 val", "train2017 val"),
        # a folder that means no split before one that means another split
        ("instances_train instances_val", "images/train frames", "images/train frames"),
        # not a mask that has its image's name
        ("train val", "masks images", "images images"),
    ],
)
def test_a_json_file_is_paired_with_the_folder_of_its_split(
    tmp_path: Path, make_image, files: str, images: str, expected: str | None
) -> None:
    for folder in images.split():
        make_image(f"{folder}/0.png")
    for name in files.split():
        coco_file(tmp_path / f"annotations/{name}.json", "0.png")
    definition = load_definition(tmp_path)
    folders = [definition.splits[split][0].images for split in ("train", "val")]
    assert folders == (expected or images).split()
    first = files.split(maxsplit=1)[0]
    assert definition.notes[0] == (
        f"{tmp_path}: train: COCO JSON, annotations/{first}.json with the images in {folders[0]}"
    )


def test_a_json_file_whose_images_may_be_in_two_folders(tmp_path: Path, make_image) -> None:
    for folder in ("left", "right"):
        make_image(f"{folder}/0.png")
    coco_file(tmp_path / "annotations/train.json", "0.png", "1.png")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'annotations/train.json'}: its images may be those of left or of right; a "
        "data.yaml says which: SPLIT: {annotations: annotations/train.json, images: left}"
    )
    make_image("right/1.png")  # which then holds all images, left only one
    assert load_definition(tmp_path).splits["train"][0].images == "right"


def test_json_files_of_two_splits_do_not_share_images(tmp_path: Path, make_image) -> None:
    """The folder of val is missing, and that of train has images of the same names."""
    make_image("images/train/0.png")
    make_image("images/train/1.png")
    train, val = (tmp_path / f"annotations/instances_{split}.json" for split in ("train", "val"))
    coco_file(train, "0.png")
    coco_file(val, "0.png")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{val}: its image {tmp_path / 'images/train/0.png'} is in {train}, which is of split "
        "'train', too; expected images of its own"
    )
    coco_file(val, "1.png")  # one folder for the images of both
    assert load_definition(tmp_path).splits["val"][0].images == "images/train"
    # two files of one split, of which one is a part of the other
    coco_file(val.with_name("instances_val_small.json"), "1.png")
    assert list(load_definition(tmp_path).splits) == ["train", "val", "val_small"]


def test_two_ways_to_the_same_images_are_one(tmp_path: Path, make_image) -> None:
    make_image("left/0.png")
    (tmp_path / "link").symlink_to("left")
    coco_file(tmp_path / "annotations/train.json", "0.png")
    assert load_definition(tmp_path).splits["train"][0].images == "left"


# ------------------------------------------------------------------- several folders for one split


@pytest.mark.parametrize(
    ("folders", "train", "val"),
    [
        ("images/train1 images/train2 images/val", "images/train1 images/train2", "images/val"),
        ("train_1/images train_2/images val/images", "train_1/images train_2/images", "val/images"),
        ("images/train val/images images/valid", "images/train", "images/valid val/images"),
    ],
)
def test_all_folders_of_a_split_are_used(
    tmp_path: Path, make_image, folders: str, train: str, val: str
) -> None:
    for number, folder in enumerate(folders.split()):
        make_image(f"{folder}/{number}.png")
        labels = tmp_path / folder.replace("images", "labels")
        labels.mkdir(parents=True)
        (labels / f"{number}.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "images/train_copy").symlink_to(tmp_path / folders.split(maxsplit=1)[0])
    definition = load_definition(tmp_path)
    assert definition.splits == {
        "train": tuple(Split(images=folder) for folder in train.split()),
        "val": tuple(Split(images=folder) for folder in val.split()),
    }
    joined = " and ".join(train.split())
    assert definition.notes[0] == f"{tmp_path}: train: YOLO txt" + (
        f", {joined}" if " " in train else ""
    )
    assert len(open_dataset(tmp_path, "train")) == len(train.split())


def test_all_folders_of_a_split_are_used_in_other_formats(tmp_path: Path, make_image) -> None:
    text = "<annotation><object><name>cow</name></object></annotation>"
    for split in ("train1", "train2", "val"):
        make_image(f"voc/{split}/{split}.jpg").with_suffix(".xml").write_text(text)
        make_image(f"classes/{split}/cat/a.jpg")
        make_image(f"coco/images/{split}/{split}.jpg")
        coco_file(tmp_path / f"coco/annotations/instances_{split}.json", f"{split}.jpg")
    # a JSON file of its own is a split of its own, which a line names
    assert load_definition(tmp_path / "coco").notes[:3] == tuple(
        f"{tmp_path / 'coco'}: {split}: COCO JSON, annotations/instances_{name}.json with the "
        f"images in images/{name}"
        for split, name in (("train", "train1"), ("train2", "train2"), ("val", "val"))
    )
    assert load_definition(tmp_path / "voc").splits["train"] == (
        Split(images="train1", annotations="train1"),
        Split(images="train2", annotations="train2"),
    )
    assert load_definition(tmp_path / "classes").splits["train"] == (
        Split(class_folders="train1"),
        Split(class_folders="train2"),
    )


def test_folders_that_no_split_uses_are_named(tmp_path: Path, make_image) -> None:
    make_image("train/images/a.png")
    (tmp_path / "train/labels").mkdir()
    (tmp_path / "train/labels/a.txt").write_text("0 .5 .5 .1 .1\n")
    for number in range(7):
        make_image(f"more{number}/a.png")
    assert load_definition(tmp_path).notes[1] == (
        "images of no split, left out: more0, more1, more2, more3, more4 and 2 more"
    )
