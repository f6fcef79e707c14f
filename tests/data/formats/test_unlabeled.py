"""Images without a label file: a place of negatives, a split with few labels, one without any."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats import voc, yolo
from detector.data.formats.unlabeled import check_unlabeled
from detector.utils.errors import DetectorError
from tests.data.conftest import voc_xml

ROW = "0 .5 .5 .1 .1\n"


def test_no_image() -> None:
    check_unlabeled([])


def test_not_one_label_file(tmp_path: Path) -> None:
    images = [tmp_path / "images/a.jpg", tmp_path / "images/b.jpg"]
    with pytest.raises(DetectorError) as caught:
        check_unlabeled(yolo.annotated_images(images, 2), 1)
    assert str(caught.value) == (
        f"{tmp_path / 'images'}: none of 2 images has a label file; "
        f"the first was looked for at {tmp_path / 'labels/a.txt'}"
    )


def test_not_one_xml_file(tmp_path: Path) -> None:
    for name in ("pics/a.jpg", "pics/b.jpg", "marks/c.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = [tmp_path / "pics/a.jpg", tmp_path / "pics/b.jpg"]
    annotated, issues = voc.annotated_images(images, tmp_path / "pics", tmp_path / "marks", [])
    assert not issues
    with pytest.raises(DetectorError) as caught:
        check_unlabeled(annotated, 1)
    assert str(caught.value) == (
        f"{tmp_path}/marks: none of 2 images has an XML file; the first was looked for as a.xml; "
        f"{tmp_path}/marks holds c.xml"
    )


@pytest.mark.parametrize(
    ("images", "missing", "flag"),
    [(10, 9, None), (11, 10, "0.91"), (40, 37, "0.93")],
)
def test_most_images_of_a_yolo_set_lack_a_label_file(
    yolo_folder, images: int, missing: int, flag: str | None
) -> None:
    """Nine tenths may lack it. 10/11 = 0.909, rounded up to 0.91; 37/40 = 0.925, to 0.93."""
    path = yolo_folder({f"{n:02}": ROW for n in range(images)})
    for number in range(missing):
        (path.parent / f"labels/train/{number:02}.txt").unlink()
    if flag is not None:
        with pytest.raises(DetectorError) as caught:
            open_dataset(path, "train")
        assert str(caught.value) == (
            f"{path}: split 'train': {missing} of {images} images have no label file, the first "
            f"is {path.parent / 'images/train/00.png'}; "
            f"--max-unlabeled {flag} takes them as images without objects"
        )
    dataset = open_dataset(path, "train", max_unlabeled=None if flag is None else float(flag))
    assert len(dataset) == images
    count = f"{missing} of {images} ({missing / images:.1%})"
    assert f"images without a label file, taken as without objects: {count}" in dataset.report


def test_a_smaller_share_may_be_asked_for(yolo_folder, make_image) -> None:
    path = yolo_folder({"a": ROW, "b": ROW})
    make_image("images/train/c.png")
    with pytest.raises(DetectorError, match="1 of 3 images have no label file, .*unlabeled 0.34 "):
        open_dataset(path, "train", max_unlabeled=0.33)
    assert len(open_dataset(path, "train", max_unlabeled=0.34)) == 3


@pytest.mark.parametrize("labels", ["YOLO", "VOC", "COCO"])
@pytest.mark.parametrize("more", ["more", "{list_file: more.txt}"])
def test_a_place_of_negatives(tmp_path: Path, make_image, labels: str, more: str) -> None:
    """Two images without labels in a place of their own, whatever the format of the other place."""
    make_image("images/a.png")
    for name in ("c", "d"):
        make_image(f"more/{name}.png")
    (tmp_path / "more.txt").write_text("more/c.png\nmore/d.png\n")
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/a.xml").write_text(voc_xml("cat 1 2 30 20"))
    (tmp_path / "marks/a.txt").write_text(ROW)
    (tmp_path / "all.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "cat"}],'
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 9]}]}'
    )
    key = {"YOLO": "labels: marks", "VOC": "annotations: marks", "COCO": "annotations: all.json"}
    definition = tmp_path / "set.yaml"
    definition.write_text(f"names: [cat]\ntrain: [{{images: images, {key[labels]}}}, {more}]\n")
    dataset = open_dataset(definition, "train")
    assert [len(sample.class_ids) for sample in dataset.samples] == [1, 0, 0]
    place = "more" if more == "more" else "more.txt"
    assert (
        f"{place}: none of its 2 images has a label file: all are without objects" in dataset.report
    )
    # 2 / 3 = 66.7 %
    assert "images without a label file, taken as without objects: 2 of 3 (66.7%)" in dataset.report


def test_two_places_of_negatives_are_no_data_set(tmp_path: Path, make_image) -> None:
    for name in ("one/a.png", "two/b.png"):
        make_image(name)
    (tmp_path / "set.yaml").write_text("names: [cat]\ntrain: [one, two]\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train", max_unlabeled=1)
    assert str(caught.value) == (
        f"{tmp_path}/one: none of 2 images has a label file; the first was looked for at "
        f"{tmp_path}/one/a.txt"
    )
