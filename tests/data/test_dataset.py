"""Opening a split: every format, fatal and skipped issues, matching classes with a model."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image

from .conftest import voc_xml, write_jpeg_with_orientation


def test_yolo(yolo_folder) -> None:
    path = yolo_folder({"a": "1 0.5 0.5 0.5 0.5\n", "b": ""})
    dataset = open_dataset(path, "train")
    assert dataset.names == ("cat", "dog")
    assert len(dataset) == 2
    first, second = dataset.samples
    # 40 · (0.5 ± 0.25) = 10, 30; 20 · (0.5 ± 0.25) = 5, 15
    assert first.boxes_xyxy.tolist() == [[10, 5, 30, 15]]
    assert first.class_ids.tolist() == [1]
    assert first.size_hw == (20, 40)
    assert len(second.class_ids) == 0
    assert dataset.report == (
        f"split 'train' of {path}: 2 images, 1 boxes, from YOLO txt",
        "classes: 0 cat, 1 dog",
    )
    assert dataset.ground_truth() == {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 20, "width": 40},
            {"id": 2, "file_name": "b.png", "height": 20, "width": 40},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [10, 5, 20, 10],
                "area": 200,
                "iscrowd": 0,
                "difficult": 0,
            }
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


FACE = "0 .5 .5 .2 .4 .45 .45 .55 .45 .5 .5 .46 .55 .54 .55\n"


@pytest.mark.parametrize("key", ["", "kpt_shape: [5, 2]\n"])
def test_boxes_with_keypoints(yolo_folder, key: str) -> None:
    path = yolo_folder({"a": FACE, "b": f"1 .5 .5 .1 .1\n{FACE}"})
    path.write_text(path.read_text() + key)
    dataset = open_dataset(path, "train")
    # 40 · (0.5 ± 0.1) = 16, 24; 20 · (0.5 ± 0.2) = 6, 14
    assert dataset.samples[0].boxes_xyxy == pytest.approx(np.array([[16, 6, 24, 14]]))
    assert dataset.report[1] == (
        "label rows: 1 boxes, 0 polygons (read as the box around each), "
        "2 boxes with keypoints (the keypoints are ignored)"
    )


def test_polygons_if_the_definition_says_so(yolo_folder) -> None:
    path = yolo_folder({"a": "0 .4 .4 .5 .4 .45 .3\n"})
    with pytest.raises(DetectorError, match="7 columns may be a polygon or a box with keypoints"):
        open_dataset(path, "train")
    path.write_text(f"{path.read_text()}polygons: true\n")
    (sample,) = open_dataset(path, "train").samples
    # 40 · 0.4 and 40 · 0.5; 20 · 0.3 and 20 · 0.4
    assert sample.boxes_xyxy == pytest.approx(np.array([[16, 6, 20, 8]]))


def test_all_fatal_issues_are_listed_at_once(yolo_folder, tmp_path: Path) -> None:
    path = yolo_folder({"a": "7 .5 .5 .1 .1\n0 nan .5 .1 .1\n0 .5 .5\n", "b": "0 .5 .5 .1 .1\n"})
    (tmp_path / "images/train/c.jpg").write_bytes(b"no image")
    with pytest.raises(DetectorError) as caught:
        open_dataset(path, "train")
    labels = tmp_path / "labels/train"
    assert str(caught.value).split("\n") == [
        f"4 fatal issues in split 'train' of {path} (--skip-bad leaves them out):",
        f"  {labels / 'a.txt'}:1: class 7 is out of range, expected 0 to 1",
        f"  {labels / 'a.txt'}:2: 'nan' is not a finite number",
        f"  {labels / 'a.txt'}:3: 3 columns, expected 5 (class, centre x, centre y, width, height)"
        " or a class and at least 3 points",
        f"  {tmp_path / 'images/train/c.jpg'}: is not an image that OpenCV can decode",
    ]


def test_skip_bad_drops_and_counts(yolo_folder, tmp_path: Path) -> None:
    text = "7 .5 .5 .1 .1\n0 nan .5 .1 .1\n1 .5 .5 .5 .5\n0 .5 .5 0 .1\n0 0 .5 .5 .5\n"
    path = yolo_folder({"a": text, "b": "0 .5 .5 .1 .1\n"})
    (tmp_path / "images/train/c.jpg").write_bytes(b"no image")
    (tmp_path / "labels/train/d.txt").write_text("0 .5 .5 .1 .1\n")
    dataset = open_dataset(path, "train", skip_bad=True)
    assert [sample.path.stem for sample in dataset.samples] == ["a", "b"]
    # the third row as it is; the last: x = 40 · (0 ± .25) = −10, 10, cut off at 0
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 30, 15], [0, 5, 10, 15]]
    assert dataset.report[:-1] == (
        f"split 'train' of {path}: 2 images, 3 boxes, from YOLO txt",
        "boxes clipped to their image: 1",
        "boxes of zero size dropped: 1",
        "label files without an image: 1",
        "images dropped (--skip-bad): 1",
        "label rows dropped (--skip-bad): 2",
    )


def test_a_missing_label_file_is_counted(yolo_folder, make_image) -> None:
    path = yolo_folder({"a": "0 .5 .5 .1 .1\n"})
    make_image("images/train/b.png")
    dataset = open_dataset(path, "train")
    assert "images without a label file, taken as without objects: 1 of 2 (50.0%)" in dataset.report
    assert len(dataset.samples[1].class_ids) == 0


def test_no_usable_image(yolo_folder, tmp_path: Path) -> None:
    path = yolo_folder({"a": "0 .5 .5 .1 .1\n"})
    (tmp_path / "images/train/a.png").write_bytes(b"")
    with pytest.raises(DetectorError) as caught:
        open_dataset(path, "train", skip_bad=True)
    assert str(caught.value) == f"{path}: no image in split 'train'"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_are_of_the_image_with_its_exif_orientation(
    tmp_path: Path, yolo_folder, orientation: int
) -> None:
    path = yolo_folder({})
    raw = np.zeros((32, 64, 3), np.uint8)
    raw[:16, :32] = 255, 0, 0  # red in the first quarter of the stored pixels
    write_jpeg_with_orientation(tmp_path / "images/train/a.jpg", raw, orientation)
    # Where EXIF puts the stored image's (top, left) in the shown one, by its table of values:
    # 1 top left, 2 top right, 3 bottom right, 4 bottom left; 5–8 the same, transposed:
    # 5 left top, 6 right top, 7 right bottom, 8 left bottom.
    cx, cy = {
        1: (0.25, 0.25), 2: (0.75, 0.25), 3: (0.75, 0.75), 4: (0.25, 0.75),
        5: (0.25, 0.25), 6: (0.75, 0.25), 7: (0.75, 0.75), 8: (0.25, 0.75),
    }[orientation]  # fmt: skip
    (tmp_path / "labels/train/a.txt").write_text(f"0 {cx} {cy} 0.5 0.5\n")
    (sample,) = open_dataset(path, "train").samples
    assert sample.size_hw == ((32, 64) if orientation <= 4 else (64, 32))
    image = read_image(sample.path)
    assert image.shape[:2] == sample.size_hw
    x1, y1, x2, y2 = sample.boxes_xyxy[0].astype(int)
    red = (image[..., 0] > 128) & (image[..., 1] < 128)
    inside = np.zeros(red.shape, bool)
    inside[y1:y2, x1:x2] = True
    assert np.array_equal(red, inside)


def test_voc(voc_folder, make_image) -> None:
    path = voc_folder(
        {
            "a": voc_xml("cat 1 2 30 20", "dog 5 5 5 9", "dog 4 4 9 9 1"),
            "b": voc_xml("dog 10 0 45 10", size_wh=(0, 0)),
        }
    )
    make_image("JPEGImages/unlisted.jpg")
    dataset = open_dataset(path, "train")
    assert [sample.path.name for sample in dataset.samples] == ["a.jpg", "b.jpg"]
    first, second = dataset.samples
    assert first.boxes_xyxy.tolist() == [[1, 2, 30, 20], [4, 4, 9, 9]]  # nothing subtracted
    assert first.difficult.tolist() == [False, True]
    assert second.boxes_xyxy.tolist() == [[10, 0, 40, 10]]
    assert dataset.report[1:-1] == (
        "boxes clipped to their image: 1",
        "boxes of zero size dropped: 1",
    )
    assert [a["difficult"] for a in dataset.ground_truth()["annotations"]] == [0, 1, 0]


def test_a_broken_xml_file_drops_its_image(voc_folder) -> None:
    path = voc_folder({"a": "<annotation>", "b": voc_xml("cat 1 2 30 20")})
    with pytest.raises(DetectorError) as caught:
        open_dataset(path, "train")
    xml = path.parent / "Annotations/a.xml"
    assert str(caught.value) == f"{xml}:1: XML syntax: no element found (--skip-bad leaves it out)"
    (sample,) = open_dataset(path, "train", skip_bad=True).samples
    assert sample.path.stem == "b"


@pytest.mark.parametrize(
    ("images", "missing", "flag"),
    [(10, 1, None), (20, 2, None), (10, 2, "0.2"), (6, 5, "0.84"), (25, 7, "0.28")],
)
def test_images_without_an_xml_file(
    voc_folder, images: int, missing: int, flag: str | None
) -> None:
    """A tenth may lack its file. 5/6 = 0.8333, rounded up to 0.84; 7/25 = 0.28."""
    path = voc_folder({f"{n:02}": voc_xml("cat 1 2 30 20") for n in range(images)})
    for number in range(missing):
        (path.parent / f"Annotations/{number:02}.xml").unlink()
    if flag is not None:
        with pytest.raises(DetectorError) as caught:
            open_dataset(path, "train", skip_bad=True)
        assert str(caught.value) == (
            f"{path}: split 'train': {missing} of {images} images have no XML file, the first is "
            f"{path.parent / 'JPEGImages/00.jpg'}; "
            f"--max-unlabeled {flag} takes them as images without objects"
        )
    dataset = open_dataset(path, "train", max_unlabeled=float(flag or 0.1))
    assert len(dataset) == images
    count = f"{missing} of {images} ({missing / images:.1%})"
    line = f"images without a label file, taken as without objects: {count}"
    assert line in dataset.report


def annotation(number: int, image: int, category: int, **more: object) -> dict[str, object]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [1, 2, 10, 5],
        "area": 31,
        "iscrowd": 0,
        **more,
    }


def test_coco_is_native(coco_folder) -> None:
    path = coco_folder([annotation(1, 10, 7), annotation(2, 4, 3, iscrowd=1)])
    dataset = open_dataset(path, "val")
    assert dataset.names == ("dog", "cat")
    assert dataset.category_ids == (3, 7)
    assert dataset.annotation_file == path.parent / "truth.json"
    first, second = dataset.samples
    assert [first.image_id, second.image_id] == [10, 4]
    assert first.class_ids.tolist() == [1]
    assert first.areas.tolist() == [31]
    assert second.crowd.tolist() == [True]
    assert second.boxes_xyxy.tolist() == [[1, 2, 11, 7]]
    assert dataset.ground_truth()["annotations"][1]["iscrowd"] == 1


def test_ground_truth_holds_the_images_that_were_not_dropped(coco_folder) -> None:
    bad = annotation(3, 10, 3, bbox=[0, 0, float("nan"), 1])
    path = coco_folder([annotation(1, 10, 7), annotation(2, 4, 3), bad])
    (path.parent / "pictures/b.png").unlink()
    dataset = open_dataset(path, "val", skip_bad=True)
    truth = dataset.ground_truth()
    assert [image["id"] for image in truth["images"]] == [10]
    assert [a["id"] for a in truth["annotations"]] == [1]
    assert dataset.report[-3:-1] == (
        "images dropped (--skip-bad): 1",
        "label rows dropped (--skip-bad): 1",
    )


def test_a_model_numbers_the_classes(coco_folder) -> None:
    path = coco_folder([annotation(1, 10, 7), annotation(2, 4, 3)])
    dataset = open_dataset(path, "val", names=["hen", "Cat", "ox"])
    assert dataset.names == ("hen", "Cat", "ox")
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[1], []]
    # cat keeps its id 7; the others get ids that the truth does not have
    assert dataset.category_ids == (8, 7, 10)
    assert dataset.report[-3:] == (
        "1 classes matched by name, data → model: cat → 1 Cat",
        "not among the model's classes, their objects count as missed: dog (1)",
        "classes of the model that the data lack: hen, ox",
    )
    # the truth is that of the data, whatever the model knows
    assert len(dataset.ground_truth()["annotations"]) == 2


def test_names_that_leave_categories_out(coco_folder) -> None:
    """The file's dog, 3, is no class of the data: it is not in the ground truth."""
    path = coco_folder([annotation(1, 10, 7), annotation(2, 4, 3), annotation(3, 4, 3)])
    path.write_text("names: [cat]\n" + path.read_text())
    dataset = open_dataset(path, "val", names=["cat", "dog"], skip_bad=True)
    assert dataset.category_ids == (7, 9)
    truth = dataset.ground_truth()
    assert [category["id"] for category in truth["categories"]] == [7]
    assert [one["id"] for one in truth["annotations"]] == [1]
    assert "label rows dropped (--skip-bad): 2" in dataset.report


def test_ids_that_the_file_has_are_nobody_elses(coco_folder) -> None:
    """cat is 3 here, dog 7: a class that the data lack comes after both, whatever the names."""
    path = coco_folder(
        [annotation(1, 10, 3)], categories=[{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    )
    path.write_text("names: [cat]\n" + path.read_text())
    assert open_dataset(path, "val", names=["cat", "dog"]).category_ids == (3, 9)


def test_boxes_that_training_leaves_out_stay_in_the_ground_truth(coco_folder) -> None:
    twice = [annotation(1, 10, 7), annotation(2, 10, 7)]
    dataset = open_dataset(coco_folder(twice), "val")
    assert sum(len(sample.class_ids) for sample in dataset.samples) == 1
    assert len(dataset.ground_truth()["annotations"]) == 2
    assert dataset.report[-3:-1] == (
        "duplicate boxes dropped: 1",
        "boxes dropped from training stay in the ground truth for AP",
    )


def test_no_class_in_common(yolo_folder) -> None:
    path = yolo_folder({"a": "0 .5 .5 .1 .1\n"})
    with pytest.raises(DetectorError) as caught:
        open_dataset(path, "train", names=["a", "b", "c", "d", "e", "f"])
    assert str(caught.value) == (
        "none of the data's classes (cat, dog) is among the model's (a, b, c, d, e, …)"
    )


def test_ground_truth_keeps_the_data_sets_classes_under_a_models_names(
    yolo_folder,
) -> None:
    path = yolo_folder({"a": "0 .5 .5 .1 .1\n1 .5 .5 .5 .5\n"})
    dataset = open_dataset(path, "train", names=["dog"])
    assert dataset.samples[0].class_ids.tolist() == [0]
    assert dataset.category_ids == (2,)
    categories = [a["category_id"] for a in dataset.ground_truth()["annotations"]]
    assert categories == [1, 2]


def test_several_places_are_one_split(tmp_path: Path, make_image) -> None:
    for folder in ("one", "two"):
        make_image(f"{folder}/images/a.png")
        (tmp_path / folder / "labels").mkdir()
        (tmp_path / folder / "labels/a.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "set.yaml").write_text("names: [x]\ntrain: [one/images, two/images]\n")
    dataset = open_dataset(tmp_path / "set.yaml", "train")
    assert [sample.image_id for sample in dataset.samples] == [1, 2]
    assert dataset.annotation_file is None


def write_coco(folder: Path, name: str, image: int, file: str, category: int = 7) -> None:
    content = {
        "images": [{"id": image, "file_name": file, "height": 20, "width": 40}],
        "annotations": [annotation(1, image, category)],
        "categories": [{"id": category, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    (folder / name).write_text(json.dumps(content))


TWO_FILES = """names: [dog, cat]
val: [{annotations: one.json, images: .}, {annotations: two.json, images: .}]
"""


def test_ids_of_two_coco_files_are_kept(tmp_path: Path, make_image) -> None:
    make_image("a.png")
    make_image("b.png")
    write_coco(tmp_path, "one.json", 139, "a.png")
    write_coco(tmp_path, "two.json", 285, "b.png")
    (tmp_path / "set.yaml").write_text(TWO_FILES)
    dataset = open_dataset(tmp_path / "set.yaml", "val")
    assert [sample.image_id for sample in dataset.samples] == [139, 285]
    assert dataset.category_ids == (3, 7)
    assert dataset.annotation_file is None
    truth = dataset.ground_truth()
    assert [(a["image_id"], a["category_id"]) for a in truth["annotations"]] == [(139, 7), (285, 7)]
    assert truth["categories"] == [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
    assert len(dataset.report) == 2  # the summary and the classes
    for_model = open_dataset(tmp_path / "set.yaml", "val", names=["ox", "cat"])
    assert for_model.category_ids == (8, 7)


def test_ids_of_two_coco_files_that_are_not_unique(tmp_path: Path, make_image) -> None:
    make_image("a.png")
    make_image("b.png")
    write_coco(tmp_path, "one.json", 139, "a.png")
    write_coco(tmp_path, "two.json", 139, "b.png", category=8)
    (tmp_path / "set.yaml").write_text(TWO_FILES)
    dataset = open_dataset(tmp_path / "set.yaml", "val")
    assert [sample.image_id for sample in dataset.samples] == [1, 2]
    assert dataset.category_ids == (1, 2)  # 7 and 8 are both cats
    assert dataset.report[1:3] == (
        "image ids are not unique in the split's annotation files: images are numbered 1 to 2",
        "category ids are not those of each annotation file: classes are numbered 1 to 2",
    )
    categories = [a["category_id"] for a in dataset.ground_truth()["annotations"]]
    assert categories == [2, 2]


def test_an_image_file_under_two_ids(coco_folder) -> None:
    path = coco_folder([annotation(1, 10, 7), annotation(2, 4, 3)])
    truth = path.parent / "truth.json"
    truth.write_text(truth.read_text().replace("b.png", "./a.png"))
    dataset = open_dataset(path, "val")
    assert len(dataset) == 2
    assert dataset.report[2] == (
        "image files that the split has several times, each with its own labels: 1; the first is "
        f"{path.parent}/pictures/a.png, with the ids 10, 4"
    )


def test_an_image_that_is_listed_often(tmp_path: Path, make_image) -> None:
    image = make_image("images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "list.txt").write_text("images/a.png\n" * 6)
    (tmp_path / "set.yaml").write_text("names: [x]\nsplits: {train: {list_file: list.txt}}\n")
    assert open_dataset(tmp_path / "set.yaml", "train").report[1] == (
        "image files that the split has several times, each with its own labels: 1; the first is "
        f"{image}, with the ids 1, 2, 3, 4, 5, …"
    )


def test_a_seeded_split_is_complete_and_disjoint(tmp_path: Path, make_image) -> None:
    (tmp_path / "labels").mkdir()
    for number in range(11):
        make_image(f"images/{number:02}.png")
        (tmp_path / f"labels/{number:02}.txt").write_text("0 .5 .5 .1 .1\n")
    train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    names = [[sample.path.stem for sample in dataset.samples] for dataset in (train, val)]
    assert [len(part) for part in names] == [9, 2]  # round(0.8 · 11) = 9
    assert sorted(names[0] + names[1]) == [f"{number:02}" for number in range(11)]
    assert names[0] == sorted(names[0])
    assert names[0] == [sample.path.stem for sample in open_dataset(tmp_path, "train").samples]


@pytest.mark.parametrize("kind", ["yolo", "voc", "classes"])
def test_too_few_images_for_a_split(tmp_path: Path, make_image, kind: str) -> None:
    """Four fifths of two images are both of them: round(1.6) = 2, of three round(2.4) = 2."""
    for i in range(2):
        folder = {"yolo": "images/", "voc": "", "classes": f"{i}/"}[kind]
        image = make_image(f"{folder}{i}.png")
        if kind == "yolo":
            (tmp_path / "labels").mkdir(exist_ok=True)
            (tmp_path / f"labels/{i}.txt").write_text("0 .5 .5 .1 .1\n")
        if kind == "voc":
            image.with_suffix(".xml").write_text(voc_xml("cow 1 1 9 9"))
    assert len(open_dataset(tmp_path, "train")) == 2
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path, "val")
    assert str(caught.value) == (
        f"{tmp_path}: split 'val': 20% of 2 images rounds to none; add images"
    )


def test_a_bare_folder_of_xml_matched_by_stem(tmp_path: Path, make_image) -> None:
    (tmp_path / "marks").mkdir()
    for number in range(5):
        make_image(f"pictures/{number}.jpg")
        (tmp_path / f"marks/{number}.xml").write_text(voc_xml("cow 1 2 30 20"))
    dataset = open_dataset(tmp_path, "train")
    assert len(dataset) == 4
    assert dataset.names == ("cow",)
    assert all(len(sample.class_ids) == 1 for sample in dataset.samples)


def test_xml_files_beside_images_of_the_same_names(tmp_path: Path, make_image) -> None:
    """Two cameras, both with 0.jpg: each has its own boxes and its own classes."""
    for folder, text in (("cam1", "cat 1 2 30 20"), ("cam2", "dog 5 5 9 9")):
        for number in range(2):
            image = make_image(f"{folder}/{number}.jpg")
            image.with_suffix(".xml").write_text(voc_xml(text))
    (tmp_path / "list.txt").write_text("cam1/0\ncam1/1\ncam2/0\ncam2/1\n")
    definition = tmp_path / "set.yaml"
    definition.write_text("train: {images: ., annotations: ., image_set: list.txt}\nval: \n")
    dataset = open_dataset(definition, "train")
    assert dataset.names == ("cat", "dog")
    found = [(s.path.relative_to(tmp_path).as_posix(), *s.class_ids) for s in dataset.samples]
    assert found == [("cam1/0.jpg", 0), ("cam1/1.jpg", 0), ("cam2/0.jpg", 1), ("cam2/1.jpg", 1)]
    definition.unlink()
    bare = [open_dataset(tmp_path, split) for split in ("train", "val")]
    assert {part.names for part in bare} == {("cat", "dog")}
    boxes = {s.path.parent.name: s.boxes_xyxy.tolist() for part in bare for s in part.samples}
    assert boxes == {"cam1": [[1, 2, 30, 20]], "cam2": [[5, 5, 9, 9]]}


def test_labels_that_may_be_of_two_images(tmp_path: Path, make_image) -> None:
    for name in ("pics/x/0.jpg", "pics/y/0.jpg", "pics/1.jpg"):
        make_image(name)
    (tmp_path / "labels").mkdir()
    for number in range(2):
        (tmp_path / f"labels/{number}.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "marks").mkdir()
    for number in range(2):
        (tmp_path / f"marks/{number}.xml").write_text(voc_xml("cat 1 2 30 20"))
    definition = tmp_path / "set.yaml"
    definition.write_text(
        "names: [cat]\ntrain: {images: pics, labels: labels}\n"
        "val: {images: pics, annotations: marks}\n"
        "test: {list_file: list.txt, labels: labels}\n"
    )
    (tmp_path / "list.txt").write_text("pics/x/0.jpg\npics/y/0.jpg\npics/1.jpg\n")
    for split in ("val", "test"):
        with pytest.raises(DetectorError) as caught:
            open_dataset(definition, split)
        first, *others = str(caught.value).splitlines()
        assert first == (
            f"2 fatal issues in split {split!r} of {definition} (--skip-bad leaves them out):"
        )
        file = {"val": "marks/0.xml", "test": "labels/0.txt"}[split]
        expected = {"val": f"{tmp_path}/marks/x/0.xml", "test": "a file for each"}[split]
        assert others[0] == (
            f"  {tmp_path}/pics/x/0.jpg: {tmp_path}/{file} may be its labels or those of "
            f"{tmp_path}/pics/y/0.jpg, expected {expected}"
        )
        dataset = open_dataset(definition, split, skip_bad=True)
        assert [sample.path.name for sample in dataset.samples] == ["1.jpg"]
        assert "images dropped (--skip-bad): 2" in dataset.report
    # below a folder the path decides: the labels of pics/x/0.jpg would be labels/x/0.txt
    assert [len(sample.class_ids) for sample in open_dataset(definition, "train").samples] == [
        1,
        0,
        0,
    ]


@pytest.mark.parametrize("kind", ["yolo", "voc", "list"])
def test_labels_that_may_be_of_images_of_two_places(tmp_path: Path, make_image, kind: str) -> None:
    """Images without objects in a folder of their own, one with the name of another image."""
    for name in ("images/0.jpg", "images/1.jpg", "empty/0.jpg", "empty/2.jpg"):
        make_image(name)
    (tmp_path / "labels").mkdir()
    for number in range(2):
        (tmp_path / f"labels/{number}.txt").write_text("0 .5 .5 .1 .1\n")
        (tmp_path / f"labels/{number}.xml").write_text(voc_xml("cat 1 2 30 20"))
    (tmp_path / "labels/2.xml").write_text(voc_xml())
    (tmp_path / "list.txt").write_text("empty/0.jpg\nempty/2.jpg\n")
    places = {
        "yolo": "[images, empty]",
        "voc": "[{images: images, annotations: labels}, {images: empty, annotations: labels}]",
        "list": "[images, list.txt]",
    }
    definition = tmp_path / "set.yaml"
    definition.write_text(f"names: [cat]\ntrain: {places[kind]}\nval: [images, images]\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(definition, "train")
    file = tmp_path / f"labels/0.{'xml' if kind == 'voc' else 'txt'}"
    image, namesake = tmp_path / "images/0.jpg", tmp_path / "empty/0.jpg"
    assert str(caught.value).splitlines() == [
        f"2 fatal issues in split 'train' of {definition} (--skip-bad leaves them out):",
        f"  {image}: {file} may be its labels or those of {namesake}, expected a file for each",
        f"  {namesake}: {file} may be its labels or those of {image}, expected a file for each",
    ]
    dataset = open_dataset(definition, "train", skip_bad=True)
    assert [(s.path.name, len(s.class_ids)) for s in dataset.samples] == [
        ("1.jpg", 1),
        ("2.jpg", 0),
    ]
    # one image named twice is no doubt
    assert len(open_dataset(definition, "val")) == 4


def test_linked_and_hidden_folders(yolo_folder, make_image, tmp_path: Path) -> None:
    path = yolo_folder({"a": "0 .5 .5 .1 .1"})
    make_image("store/b.png")
    make_image("images/train/.ipynb_checkpoints/a-checkpoint.png")
    (tmp_path / "images/train/p0").symlink_to(tmp_path / "store")
    (tmp_path / "labels/train/p0").mkdir()
    (tmp_path / "labels/train/p0/b.txt").write_text("1 .5 .5 .1 .1")
    dataset = open_dataset(path, "train")
    assert [(s.path.name, *s.class_ids) for s in dataset.samples] == [("a.png", 0), ("b.png", 1)]


# --------------------------------------------------------------------------------- the real data


@pytest.mark.parametrize(
    ("split", "images", "boxes", "dropped"),
    [("train", 205, 2804, 1), ("val", 87, 1137, 1), ("test", 72, 945, 0)],
)
def test_bccd(shared: Path, split: str, images: int, boxes: int, dropped: int) -> None:
    dataset = open_dataset("datasets/bccd.yaml", split, data_root=shared / "data/bccd")
    assert len(dataset) == images
    assert sum(len(sample.class_ids) for sample in dataset.samples) == boxes
    line = f"boxes of zero size dropped: {dropped}"
    assert (line in dataset.report) == bool(dropped)


@pytest.mark.parametrize(
    ("split", "images", "boxes", "crowds"),
    [("train", 128, 929, 0), ("val", 128, 898, 0), ("val_crowd", 100, 712, 5)],
)
def test_coco128(shared: Path, split: str, images: int, boxes: int, crowds: int) -> None:
    dataset = open_dataset("datasets/coco128.yaml", split, data_root=shared / "data/coco128")
    assert len(dataset) == images
    assert sum(len(sample.class_ids) for sample in dataset.samples) == boxes
    assert sum(int(sample.crowd.sum()) for sample in dataset.samples) == crowds
    if split != "train":
        assert dataset.category_ids[-1] == 90  # toothbrush, the official id
        assert len(dataset.ground_truth()["annotations"]) == boxes


def test_coco128_yolo_labels_are_those_of_the_annotation_file(shared: Path, tmp_path: Path) -> None:
    """The same boxes by two readers: val's txt files and the JSON file that was made from them."""
    names = list(load_definition("coco128").names)
    path = tmp_path / "both.yaml"
    path.write_text(f"names: {names}\nsplits: {{val: images/val2017}}\n")
    root = shared / "data/coco128"
    by_txt = open_dataset(path, "val", data_root=root)
    by_json = open_dataset("coco128", "val", data_root=root)
    other = {sample.path.name: sample for sample in by_json.samples}
    for sample in by_txt.samples:
        twin = other[sample.path.name]
        order, twin_order = (
            np.lexsort((*s.boxes_xyxy.round(0).T, s.class_ids)) for s in (sample, twin)
        )
        assert np.array_equal(sample.class_ids[order], twin.class_ids[twin_order])
        difference = sample.boxes_xyxy[order] - twin.boxes_xyxy[twin_order]
        assert np.abs(difference).max(initial=0) < 0.02


def test_pycocotools_gives_the_ground_truth_itself_an_ap_of_one(shared: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = open_dataset("bccd", "test", data_root=shared / "data/bccd")
    results = [
        {
            "image_id": sample.image_id,
            "category_id": dataset.category_ids[class_id],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": 1.0,
        }
        for sample in dataset.samples
        for class_id, (x1, y1, x2, y2) in zip(
            sample.class_ids, sample.boxes_xyxy.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **dataset.ground_truth()}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0, abs=1e-6)


def test_only_the_first_images(coco_folder) -> None:
    path = coco_folder([annotation(1, 10, 7), annotation(2, 4, 3)])
    whole = open_dataset(path, "val")
    part = open_dataset(path, "val", limit=1)
    assert [sample.path for sample in part.samples] == [whole.samples[0].path]
    assert [image["id"] for image in part.ground_truth()["images"]] == [part.samples[0].image_id]
    assert len(open_dataset(path, "val", limit=1000)) == len(whole)
