"""Pascal VOC XML in a folder without a definition: splits of lists and of folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError
from tests.data.conftest import voc_xml


@pytest.fixture
def write_xml(tmp_path: Path):
    """Write an XML file with one box of class cow."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(voc_xml("cow 1 2 30 20"))
        return path

    return write


def test_splits_of_annotations_with_images_of_all(tmp_path: Path, make_image, write_xml) -> None:
    for number in range(6):
        make_image(f"images/{number}.jpg")
        write_xml(f"annotations/{'train' if number < 4 else 'test'}/{number}.xml")
    make_image("images/6.jpg")  # in no split
    definition = load_definition(tmp_path)
    assert definition.splits == {
        split: (Split(images="images", annotations=path, image_set=path),)
        for split, path in (("train", "annotations/train"), ("test", "annotations/test"))
    }
    assert definition.notes[0] == (
        f"{tmp_path}: train: Pascal VOC XML, annotations/train with the images in images"
    )
    train, test = (open_dataset(tmp_path, split) for split in ("train", "test"))
    assert [sample.path.name for sample in test.samples] == ["4.jpg", "5.jpg"]
    assert len(train) == 4
    assert all(len(sample.class_ids) == 1 for sample in (*train.samples, *test.samples))


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        ("annotations/{}", "images/{}"),
        ("{}/xml", "{}/pictures"),
        ("set/xml/{}2007", "set/images/{}"),
        ("{}", "{}"),
    ],
)
def test_splits_of_annotations_with_images_of_each(
    tmp_path: Path, make_image, write_xml, labels: str, images: str
) -> None:
    for split in ("train", "val"):
        make_image(f"{images.format(split)}/0.jpg")  # the same name in both
        write_xml(f"{labels.format(split)}/0.xml")
    if labels == "{}/xml":
        labels = images = "{}"
    assert load_definition(tmp_path).splits == {
        split: (Split(images=images.format(split), annotations=labels.format(split)),)
        for split in ("train", "val")
    }
    for split in ("train", "val"):
        (sample,) = open_dataset(tmp_path, split).samples
        assert sample.path.is_relative_to(tmp_path / images.format(split))
        assert sample.boxes_xyxy.tolist() == [[1, 2, 30, 20]]


def test_an_xml_file_without_an_image(tmp_path: Path, make_image, write_xml) -> None:
    make_image("images/0.jpg")
    for name in ("train/0.xml", "train/sub/x.y.xml"):
        write_xml(f"annotations/{name}")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path, "train")
    assert str(caught.value) == (
        f"{tmp_path}/annotations/train/sub/x.y.xml: no image 'sub/x.y' in {tmp_path}/images "
        "(--skip-bad leaves it out)"
    )
    assert len(open_dataset(tmp_path, "train", skip_bad=True)) == 1


def test_folders_of_other_xml_files_are_no_splits(tmp_path: Path, make_image, write_xml) -> None:
    make_image("images/0.jpg")
    write_xml("annotations/0.xml")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/settings.xml").write_text("<settings/>")
    (place,) = load_definition(tmp_path).splits["train"]
    assert place == Split(images=".", annotations=".", part=(0, 0.8))


def test_lists_of_several_years(tmp_path: Path, make_image, write_xml) -> None:
    for year in ("VOC2007", "VOC2012"):
        make_image(f"{year}/JPEGImages/{year}.jpg")
        write_xml(f"{year}/Annotations/{year}.xml")
        (tmp_path / year / "ImageSets/Main").mkdir(parents=True)
        (tmp_path / year / "ImageSets/Main/train.txt").write_text(f"{year}\n")
    (tmp_path / "VOC2007/ImageSets/Main/test.txt").write_text("VOC2007\n")
    splits = load_definition(tmp_path).splits
    assert list(splits) == ["train", "test"]
    assert splits["train"] == tuple(
        Split(
            images=f"{year}/JPEGImages",
            annotations=f"{year}/Annotations",
            image_set=f"{year}/ImageSets/Main/train.txt",
        )
        for year in ("VOC2007", "VOC2012")
    )
    assert len(open_dataset(tmp_path, "train")) == 2


@pytest.mark.parametrize("folder", ["train", "train/farm"])
def test_a_bare_path_of_a_definition(tmp_path: Path, make_image, write_xml, folder: str) -> None:
    """Images in folders below, which are those of classes unless there are labels, too."""
    make_image(f"{folder}/0.jpg")
    write_xml(f"{folder}/0.xml")
    (tmp_path / "data.yaml").write_text("train: train\n")
    assert load_definition(tmp_path).splits == {
        "train": (Split(images="train", annotations="train"),)
    }
    (sample,) = open_dataset(tmp_path, "train").samples
    assert sample.boxes_xyxy.tolist() == [[1, 2, 30, 20]]
    (tmp_path / folder / "0.xml").write_text("<settings/>")
    (place,) = load_definition_with_names(tmp_path)
    assert place == (Split(images="train") if folder == "train" else Split(class_folders="train"))
    (tmp_path / folder / "0.xml").write_text(voc_xml("cow 1 2 30 20"))
    (tmp_path / folder / "0.txt").write_text("0 .5 .5 .1 .1\n")
    assert load_definition_with_names(tmp_path) == (Split(images="train"),)


def load_definition_with_names(folder: Path) -> tuple[Split, ...]:
    """Return the places of a definition's train split, whose names are not taken from labels."""
    (folder / "data.yaml").write_text("names: [farm]\ntrain: train\n")
    return load_definition(folder).splits["train"]


@pytest.mark.parametrize(
    "lists", [("test", "trainval"), ("trainval",), ("train", "val"), ("val",), ("train", "test")]
)
def test_lists_without_train_or_val(
    tmp_path: Path, make_image, write_xml, lists: tuple[str, ...]
) -> None:
    make_image("JPEGImages/0.jpg")
    write_xml("Annotations/0.xml")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for name in lists:
        (tmp_path / f"ImageSets/Main/{name}.txt").write_text("0\n")
    definition = load_definition(tmp_path)
    assert set(definition.splits) == set(lists)
    assert not any("the same list" in note for note in definition.notes)
