"""Boxes around segmentations: polygons and run-length encoded masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as reference

from detector.data.dataset import open_dataset
from detector.data.formats.segmentation import with_box
from detector.utils.errors import DetectorError


def bounds(segmentation: Any) -> list[float]:
    box: list[float] = with_box({"segmentation": segmentation})["bbox"]
    return box


@pytest.mark.parametrize("segmentation", [None, [], {}])
def test_nothing_to_compute_a_box_from(segmentation: Any) -> None:
    annotation = {"segmentation": segmentation}
    assert with_box(annotation) is annotation


def test_a_box_of_its_own_is_kept() -> None:
    annotation = {"bbox": [1, 2, 3, 4], "segmentation": [[0, 0, 9, 0, 9, 9]]}
    assert with_box(annotation) is annotation


def test_polygons() -> None:
    # corners (2, 1) and (9, 7): 9 - 2 = 7 wide, 7 - 1 = 6 high
    assert bounds([[2, 3, 5.5, 1, 4, 7]]) == [2, 1, 3.5, 6]
    assert bounds([[2, 3, 5.5, 1, 4, 7], [8, 2, 9, 2, 9, 3]]) == [2, 1, 7, 6]


@pytest.mark.parametrize(
    ("size", "counts", "expected"),
    [
        ([4, 5], [5, 2, 2, 2, 9], [1, 1, 2, 2]),  # pixels 5, 6 and 9, 10: rows 1, 2, columns 1, 2
        ([4, 5], [3, 2, 15], [0, 0, 2, 4]),  # pixels 3 and 4: the end of a column, and the next
        ([4, 5], [0, 20], [0, 0, 5, 4]),
        ([4, 5], [7, 0, 3, 1, 9], [2, 2, 1, 1]),  # an empty run, then pixel 10
        ([4, 5], [20], [0, 0, 0, 0]),
        ([0, 5], [0], [0, 0, 0, 0]),
    ],
)
def test_masks(size: list[int], counts: list[int], expected: list[int]) -> None:
    assert bounds({"size": size, "counts": counts}) == expected


def test_masks_agree_with_pycocotools(rng: np.random.Generator) -> None:
    for _ in range(50):
        height, width = rng.integers(1, 60, 2)
        pixels = np.zeros((height, width), np.uint8, order="F")
        y, x = rng.integers(0, height), rng.integers(0, width)
        shape = pixels[y : y + 20, x : x + 30]
        shape[:] = rng.random(shape.shape) < 0.3
        encoded = reference.encode(pixels)
        text = {"size": [int(height), int(width)], "counts": encoded["counts"].decode()}
        assert bounds(text) == reference.toBbox(encoded).tolist()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "segmentation [[1, 2, 3, 4]], expected polygons [[x1, y1, x2, y2, x3, y3, "
         "…], …] or a mask {size, counts}"),
        ([[1, 2, 3, 4, 5, float("inf")]], "segmentation [[1, 2, 3, 4, 5, inf]], expected polygons "
         "[[x1, y1, x2, y2, x3, y3, …], …] or a mask {size, counts}"),
        ("x", "segmentation 'x', expected polygons [[x1, y1, x2, y2, x3, y3, …], …] or a mask "
         "{size, counts}"),
        ({"size": [4], "counts": [20]}, "a mask of size [4], expected [height, width]"),
        ({"size": [4, 10**30], "counts": [20]},
         "a mask of size [4, 1000000000000000000000000000000], expected [height, width]"),
        ({"size": [4, 5], "counts": [19, -1]}, "a mask of counts [19, -1], expected run lengths"),
        ({"size": [4, 5], "counts": "PPP"}, "a mask of counts 'PPP', expected run lengths"),
        ({"size": [4, 5], "counts": "0é"}, "a mask of counts '0é', expected run lengths"),
        ({"size": [4, 5]}, "a mask of counts None, expected run lengths"),
        ({"size": [4, 5], "counts": [5, 2]},
         "a mask whose counts make 7 pixels, expected 20 of size [4, 5]"),
    ],
)  # fmt: skip
def test_other_segmentations(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        bounds(segmentation)
    assert str(caught.value) == f"no bbox, and {message}"


def outline(number: int, image: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": 7,
        "segmentation": segmentation,
        **more,
    }


def test_a_data_set_of_segmentations(coco_folder) -> None:
    mask = {"size": [20, 40], "counts": [25, 10, 765]}  # column 1, rows 5 to 14
    path = coco_folder(
        [
            outline(1, 10, [[2, 3, 8, 3, 8, 9]], bbox=[]),
            outline(2, 4, mask, area=10),
            outline(3, 4, [], bbox=[0, 0, 5, 5]),
        ]
    )
    dataset = open_dataset(path, "val")
    first, second = dataset.samples
    assert first.boxes_xyxy.tolist() == [[2, 3, 8, 9]]
    assert second.boxes_xyxy.tolist() == [[1, 5, 2, 15], [0, 0, 5, 5]]
    assert "boxes computed from segmentations, where annotations have none: 2" in dataset.report
    annotations = dataset.ground_truth()["annotations"]
    assert [one["bbox"] for one in annotations] == [[2, 3, 6, 6], [1, 5, 1, 10], [0, 0, 5, 5]]
    assert [one["area"] for one in annotations] == [36, 10, 25]


def test_a_mask_of_another_size_drops_its_image(coco_folder) -> None:
    path = coco_folder([outline(1, 10, [[2, 3, 8, 3, 8, 9]]), outline(2, 4, {"size": [10, 20],
                        "counts": [25, 10, 165]})])  # fmt: skip
    with pytest.raises(DetectorError) as caught:
        open_dataset(path, "val")
    assert caught.value.message == (
        "annotation 2 of b.png: labels are of an image of 20×10 pixels, found 40×20 "
        "(--skip-bad leaves it out)"
    )
    dataset = open_dataset(path, "val", skip_bad=True)
    assert [sample.path.name for sample in dataset.samples] == ["a.png"]
    assert len(dataset.ground_truth()["annotations"]) == 1


def test_an_annotation_with_neither_is_named(coco_folder) -> None:
    path = coco_folder([outline(1, 10, []), outline(2, 10, [[1, 2]])])
    with pytest.raises(DetectorError) as caught:
        open_dataset(path, "val")
    truth = path.parent / "truth.json"
    assert str(caught.value).splitlines()[1:] == [
        f"  {truth}: annotation 1 of a.png: bbox None, expected 4 numbers [x, y, width, height]",
        f"  {truth}: annotation 2 of a.png: no bbox, and segmentation [[1, 2]], expected polygons "
        "[[x1, y1, x2, y2, x3, y3, …], …] or a mask {size, counts}",
    ]
