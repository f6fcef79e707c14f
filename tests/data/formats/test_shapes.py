"""The built-in data set: properties of its images and labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import open_dataset
from detector.data.formats import shapes
from detector.data.formats.definition import load_definition
from detector.data.formats.shapes import ShapesSettings, draw_image, draw_set, tight_box
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image

SIZE = 192
SMALL = ShapesSettings(image_size=96, images={"train": 3, "val": 2}, seed=1)


def drawn(count: int) -> list[tuple]:
    return [draw_image(np.random.default_rng([5, number]), SIZE) for number in range(count)]


def test_objects_keep_the_promises() -> None:
    seen: Counter[int] = Counter()
    for image, boxes, class_ids, masks in drawn(60):
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        assert 1 <= len(boxes) == len(class_ids) == len(masks) <= 8
        seen.update(class_ids.tolist())
        sides = (boxes[:, 2:] - boxes[:, :2]) / SIZE
        assert sides.min() >= 0.08
        assert sides.max() <= 0.6
        assert boxes.min() >= 0
        assert boxes.max() <= SIZE
        for i, mask in enumerate(masks):
            covered = np.any(masks[i + 1 :], axis=0) if masks[i + 1 :] else np.zeros_like(mask)
            assert (mask & ~covered).sum() >= 0.5 * mask.sum()
    assert len(seen) == len(shapes.CLASSES) >= 4
    assert min(seen.values()) > 0.5 * max(seen.values())


def test_boxes_are_tight_around_what_was_drawn() -> None:
    for _, boxes, _, masks in drawn(10):
        for (x1, y1, x2, y2), mask in zip(boxes.astype(int).tolist(), masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min()) == (x1, y1)
            assert (columns.max() + 1, rows.max() + 1) == (x2, y2)


def test_objects_can_be_told_from_what_surrounds_them() -> None:
    """The mean colour inside an object's visible part differs from a ring around it."""
    contrasts = []
    for image, _, _, masks in drawn(20):
        mask = masks[-1]  # drawn last, so nothing covers it
        ring = np.zeros_like(mask)
        for axis in (0, 1):
            for shift in (-6, 6):
                ring |= np.roll(mask, shift, axis)
        ring &= ~np.any(masks, axis=0)
        if ring.sum() > 20:
            contrasts.append(np.linalg.norm(image[mask].mean(0) - image[ring].mean(0)))
    assert np.median(contrasts) > 70
    assert min(contrasts) > 25


def test_backgrounds_have_texture() -> None:
    deviations = [image[~np.any(masks, axis=0)].std() for image, _, _, masks in drawn(20)]
    assert min(deviations) > 5


@pytest.mark.parametrize("class_name", shapes.CLASSES)
def test_each_class_fills_its_own_share_of_its_box(class_name: str) -> None:
    # Area of mask / area of box. Circle: π/4 = .79. Square turned by a: 1 / (1 + |sin 2a|), so
    # .5 … 1. Triangle: at most .5. Star with inner radius .45, upright: 10 · ½ · .45 · sin 36°
    # = 1.32 in a box of 2 sin 72° · (1 + cos 36°) = 1.90 · 1.81 = 3.44, so .38.
    low, high = {
        "circle": (0.74, 0.82),
        "square": (0.45, 1.0),
        "triangle": (0.32, 0.54),
        "star": (0.33, 0.45),
    }[class_name]
    wanted = shapes.CLASSES.index(class_name)
    shares = [
        mask.sum() / np.prod(box[2:] - box[:2])
        for _, boxes, class_ids, masks in drawn(40)
        for box, class_id, mask in zip(boxes, class_ids, masks, strict=True)
        if class_id == wanted and min(box[2:] - box[:2]) > 30
    ]
    assert len(shares) > 5
    assert low < min(shares)
    assert max(shares) < high


def test_tight_box_of_one_pixel() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    assert tight_box(mask) == (3, 2, 4, 3)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_settings_give_the_same_files(tmp_path: Path) -> None:
    one, two = draw_set(SMALL, tmp_path / "one"), draw_set(SMALL, tmp_path / "two")
    assert one.name == two.name
    assert files(one) == files(two)
    assert len(files(one)) == 10


def test_other_seeds_splits_and_sizes_give_other_images(tmp_path: Path) -> None:
    first = draw_set(SMALL, tmp_path)
    other = draw_set(SMALL.model_copy(update={"seed": 2}), tmp_path)
    assert first != other
    assert files(first)["images/train/00000.png"] != files(other)["images/train/00000.png"]
    assert files(first)["images/train/00000.png"] != files(first)["images/val/00000.png"]
    # an image depends on its number, not on how many there are
    more = draw_set(SMALL.model_copy(update={"images": {"train": 1}}), tmp_path)
    assert files(more)["images/train/00000.png"] == files(first)["images/train/00000.png"]


def test_a_drawn_set_is_used_again(tmp_path: Path) -> None:
    folder = draw_set(SMALL, tmp_path)
    marker = folder / "marker"
    marker.touch()
    assert draw_set(SMALL, tmp_path) == folder
    assert marker.exists()


def test_the_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    def fail(*args: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shapes, "yolo_rows", fail)
    with pytest.raises(DetectorError) as caught:
        draw_set(SMALL, tmp_path)
    assert caught.value.message == "cannot be written: No space left on device"
    assert not list(tmp_path.iterdir())


def test_two_processes_that_draw_at_once(tmp_path: Path, monkeypatch) -> None:
    """The other one is ready first: its folder stays."""
    original = shapes.yolo_rows
    finished = []

    def draw_in_between(*args):
        if not finished:
            finished.append(True)
            draw_set(SMALL, tmp_path)
        return original(*args)

    monkeypatch.setattr(shapes, "yolo_rows", draw_in_between)
    folder = draw_set(SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
    assert len(files(folder)) == 10


def test_labels_read_back_are_the_drawn_boxes(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text("generate: {name: shapes, image_size: 96, images: {train: 3, val: 2}, seed: 1}")
    dataset = open_dataset(path, "val", data_root=tmp_path)
    assert dataset.names == shapes.CLASSES
    assert len(dataset) == 2
    for number, sample in enumerate(dataset.samples):
        seeds = [1, shapes.zlib.crc32(b"val"), number]
        image, boxes, class_ids, _ = draw_image(np.random.default_rng(seeds), 96)
        assert np.array_equal(read_image(sample.path), image)
        assert np.array_equal(sample.class_ids, class_ids)
        assert np.abs(sample.boxes_xyxy - boxes).max() < 1e-3


def test_the_shipped_set_is_large_enough() -> None:
    generate = load_definition("shapes").generate
    assert generate is not None
    assert generate.images["train"] >= 200
    assert generate.images["val"] >= 100


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DetectorError) as caught:
        draw_set(SMALL, tmp_path / "file")
    assert str(caught.value) == f"{tmp_path / 'file'}: cannot be written: File exists"
