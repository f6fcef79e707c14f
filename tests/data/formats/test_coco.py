"""COCO JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detector.data.formats import coco
from detector.utils.errors import DetectorError

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 10, "file_name": "a.jpg", "height": 20, "width": 40},
        {"id": 4, "file_name": "b.jpg", "height": 20, "width": 40},
    ],
    "annotations": [
        {"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 9, "iscrowd": 0},
        {"id": 6, "image_id": 10, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 7, "image_id": 4, "category_id": 3, "bbox": [0.5, 0, 9, 9]},
    ],
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
}


def read(tmp_path: Path, **changes: Any) -> coco.CocoFile:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({**CONTENT, **changes}))
    return coco.read_file(path)


def test_class_names_are_in_the_order_of_category_ids(tmp_path: Path) -> None:
    assert read(tmp_path).class_names() == ["dog", "cat"]


def test_a_category_that_only_groups_others_is_no_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 3, "name": "dog", "supercategory": "pets"},
        {"id": 7, "name": "cat", "supercategory": "pets"},
        {"id": 9, "name": "cow", "supercategory": "cow"},  # its own group, as COCO's person is
    ]
    assert read(tmp_path, categories=categories).class_names() == ["dog", "cat", "cow"]


def test_a_group_of_its_own_name(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "dog", "supercategory": "none"},
        {"id": 3, "name": "dog", "supercategory": "dog"},
        {"id": 7, "name": "cat", "supercategory": "dog"},
    ]
    file = read(tmp_path, categories=categories)
    assert file.class_names() == ["dog", "cat"]
    assert coco.category_ids(file, ["dog", "cat", "cow"]) == (3, 7, 8)


def test_rows(tmp_path: Path) -> None:
    images, issues = coco.annotated_images(read(tmp_path), tmp_path, ["dog", "cat"])
    assert not issues
    assert [(image.image_id, image.path.name) for image in images] == [(10, "a.jpg"), (4, "b.jpg")]
    first, second = images[0].read_labels((20, 40)).rows
    assert (first.class_id, first.box_xyxy, first.crowd, first.area) == (1, (1, 2, 4, 6), False, 9)
    assert (second.class_id, second.crowd, second.area) == (0, True, None)


@pytest.mark.parametrize("bbox", [[1, 1, 1, 1], [0.5, 0.5, 1.5, 1], [0, 0, 1, 0], [-0.5, 0, 1, 1]])
def test_small_boxes_in_pixels(tmp_path: Path, bbox: list[float]) -> None:
    annotations = [{**CONTENT["annotations"][0], "bbox": bbox}]
    images, _ = coco.annotated_images(read(tmp_path, annotations=annotations), tmp_path, ["cat"])
    assert not images[0].read_labels((20, 40)).issues


def test_category_ids_follow_the_names(tmp_path: Path) -> None:
    file = read(tmp_path)
    assert coco.category_ids(file, ["dog", "cat"]) == (3, 7)
    # names that the file lacks get ids that it does not use
    assert coco.category_ids(file, ["ox", "cat", "hen"]) == (8, 7, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 5}, "category_id 5 is out of range: it is not among the categories"),
        ({"category_id": [3]}, "category_id [3] is out of range: it is not among the categories"),
        ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3], expected 4 numbers [x, y, width, height]"),
        ({"bbox": None}, "bbox None, expected 4 numbers [x, y, width, height]"),
        (
            {"bbox": [1, 2, 3, float("nan")]},
            "bbox [1, 2, 3, nan] has a value that is not a finite number",
        ),
        (
            {"bbox": [1, "2", 3, 4]},
            "bbox [1, '2', 3, 4] has a value that is not a finite number",
        ),
        ({"bbox": [1, 2, 3, 10**400]}, "bbox [1, 2, 3, 1"),
        (
            {"bbox": [0.5, 0.25, 0.1, 0.2]},
            "bbox [0.5, 0.25, 0.1, 0.2] has fractions of the image, expected pixels",
        ),
        ({"bbox": [0, 0, 1, 1]}, "bbox [0, 0, 1, 1] has fractions of the image, expected pixels"),
        ({"area": float("inf")}, "area inf is not a finite number"),
        ({"iscrowd": None}, "iscrowd None, expected 0 or 1"),
        ({"iscrowd": "0"}, "iscrowd '0', expected 0 or 1"),
        ({"iscrowd": [1]}, "iscrowd [1], expected 0 or 1"),
    ],
)
def test_bad_annotations(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    annotations = [{**CONTENT["annotations"][0], **change}]
    file = read(tmp_path, annotations=annotations)
    images, _ = coco.annotated_images(file, tmp_path, ["dog", "cat"])
    labels = images[0].read_labels((20, 40))
    assert not labels.rows
    (issue,) = labels.issues
    assert issue.message.startswith(f"annotation 5 of a.jpg: {message}")
    assert not coco.ground_truth(file, {10, 4}, ["dog", "cat"])["annotations"]


def test_annotations_of_unknown_images_and_unnamed_categories(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 99, "category_id": 3, "bbox": [0, 0, 1, 1]},
        {"id": 2, "image_id": 10, "category_id": 3, "bbox": [0, 0, 1, 1]},
        {"id": 3, "image_id": 10, "category_id": 3, "bbox": [1, 1, 1, 1]},
    ]
    file = read(tmp_path, annotations=annotations)
    images, issues = coco.annotated_images(file, tmp_path, ["cat", "dogs"])
    assert [issue.message for issue in issues] == [
        "category 'dog' (3 annotations) is not among the names; did you mean 'dogs'?",
        "annotation 1: image_id 99 is not among the images",
    ]
    labels = images[0].read_labels((20, 40))
    assert not labels.rows
    assert not labels.issues  # the one issue of the category stands for all three
    assert [issue.rows for issue in issues] == [3, 1]


def test_another_size_than_stated(tmp_path: Path) -> None:
    images, _ = coco.annotated_images(read(tmp_path), tmp_path, ["dog", "cat"])
    (issue,) = images[0].read_labels((40, 80)).issues
    assert issue.message == "a.jpg: labels are of an image of 40×20 pixels, found 80×40"
    assert issue.drops_image


@pytest.mark.parametrize("height", [None, 0, "20", [20]])
def test_a_size_that_is_none(tmp_path: Path, height: Any) -> None:
    file = read(tmp_path, images=[{**CONTENT["images"][0], "height": height}])
    images, _ = coco.annotated_images(file, tmp_path, ["dog", "cat"])
    assert not images[0].read_labels((40, 80)).issues


def test_ground_truth_is_the_file_itself(tmp_path: Path) -> None:
    truth = coco.ground_truth(read(tmp_path), {10}, ["cat", "dog"])
    assert truth["images"] == CONTENT["images"][:1]
    assert truth["categories"] == CONTENT["categories"]
    assert truth["annotations"] == [
        CONTENT["annotations"][0],
        {**CONTENT["annotations"][1], "area": 81},  # filled in: 9 · 9
    ]


def test_ground_truth_without_an_annotation_whose_image_is_a_list(tmp_path: Path) -> None:
    file = read(tmp_path, annotations=[{**CONTENT["annotations"][0], "image_id": [10]}])
    assert not coco.ground_truth(file, {10, 4}, ["dog", "cat"])["annotations"]


def test_ground_truth_of_some_of_its_classes(tmp_path: Path) -> None:
    truth = coco.ground_truth(read(tmp_path), {10, 4}, ["cat", "ox"])
    assert truth["categories"] == [{"id": 7, "name": "cat"}]
    assert truth["annotations"] == CONTENT["annotations"][:1]


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 1, 2), (None, 1, 2), ([1], 1, 2)])
def test_annotation_ids_that_pycocotools_cannot_use_are_renumbered(tmp_path: Path, ids) -> None:
    annotations = [{**a, "id": i} for a, i in zip(CONTENT["annotations"], ids, strict=True)]
    file = read(tmp_path, annotations=annotations)
    truth = coco.ground_truth(file, {10, 4}, ["cat", "dog"])
    assert [annotation["id"] for annotation in truth["annotations"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 3}, "no list of 'images', expected a COCO annotation file"),
        ({"images": [3]}, "no list of 'images', expected a COCO annotation file"),
        ({"images": [{"id": "x", "file_name": "a"}]}, "images[0]: id is 'x', expected int"),
        ({"images": [{"id": 1}]}, "images[0]: file_name is None, expected str"),
        ({"images": CONTENT["images"][:1] * 2}, "image id 10 appears twice"),
        ({"categories": CONTENT["categories"][:1] * 2}, "category id 7 appears twice"),
        ({"categories": [{"id": 1}]}, "categories[0]: name is None, expected str"),
    ],
)
def test_files_of_another_form(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        read(tmp_path, **changes)
    assert str(caught.value) == f"{tmp_path / 'truth.json'}: {message}"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("{\n'a': 1}", ":2", "JSON syntax: Expecting property name enclosed in double quotes"),
        ("[" * 200_000, "", "is not a COCO annotation file"),
        (f'{{"images": {"9" * 5000}}}', "", "is not a COCO annotation file"),
        ("[]", "", "no list of 'images', expected a COCO annotation file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(DetectorError) as caught:
        coco.read_file(path)
    assert str(caught.value) == f"{path}{place}: {message}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"a": {"filename": "0.png", "regions": []}},
            "VIA, {}; a definition names it as via: FILE",
        ),
        (
            {"_via_img_metadata": {"a": {"filename": "0.png", "regions": []}}, "_via_settings": {}},
            "VIA, {}; a definition names it as via: FILE",
        ),
        (
            {"imagePath": "0.png", "shapes": []},
            "labelme, {}; a definition names it as labelme: FOLDER",
        ),
    ],
)
def test_json_of_other_tools(tmp_path: Path, content: dict[str, Any], expected: str) -> None:
    file = tmp_path / "all.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DetectorError) as caught:
        coco.read_file(file)
    text = expected.format("expected a COCO annotation file")
    assert str(caught.value) == f"{file}: is a file of {text}"
