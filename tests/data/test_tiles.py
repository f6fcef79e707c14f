"""Tiles as training images: which boxes each shows, and what is said about the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.data.cache import DiskCache, image_cache
from detector.data.dataset import open_dataset
from detector.data.loader import TrainingSet, training_loader
from detector.data.tiles import cut_into_tiles
from detector.engine.head_settings import train_settings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image

SIDE = 160  # tiles of 64 with an overlap of 16 begin at 0, 48 and 96
BOXES = [
    (10, 10, 20, 20),  # in the tile at 0, 0 only
    (60, 10, 70, 20),  # 4 of 10 columns in 0..64, whole in 48..112
    (20, 80, 140, 150),  # larger than a tile: 120 × 70
]


def settings(**values: Any) -> Any:
    return train_settings(
        cfg="cfg/yolov5n.yaml", **{"tiles": 64, "tile_overlap": 0.25, "imgsz": 64, **values}
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An image of 160×160 with three objects, and one of 64×40 with one, in YOLO's layout."""
    sizes = {"a": (SIDE, SIDE), "b": (40, 64)}
    boxes = {"a": BOXES, "b": [(0, 0, 32, 20)]}
    for name, (height, width) in sizes.items():
        row, column = np.mgrid[:height, :width].astype(np.uint8)
        write_image(tmp_path / "images" / f"{name}.png", np.stack((column, row, row * 0 + 200), 2))
        lines = [
            f"{kind % 2} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} "
            f"{(y2 - y1) / height}\n"
            for kind, (x1, y1, x2, y2) in enumerate(boxes[name])
        ]
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{name}.txt").write_text("".join(lines))
    definition = tmp_path / "two.yaml"
    definition.write_text("names: [red, green]\nsplits: {train: images, val: images}\n")
    return definition


def test_without_tiles_nothing_changes(data: Path):
    dataset = open_dataset(data, "train")
    assert cut_into_tiles(dataset, settings(tiles=None, tile_overlap=0.2)) == (dataset, [])


def test_boxes_are_clipped_and_dropped(data: Path):
    dataset = open_dataset(data, "train")
    tiled, lines = cut_into_tiles(dataset, settings(tile_visible=0.39))
    assert len(tiled.samples) == 9 + 1 + 1
    assert [sample.window_xyxy for sample in tiled.samples[:4]] == [
        (0, 0, 64, 64), (48, 0, 112, 64), (96, 0, 160, 64), (0, 48, 64, 112)
    ]  # fmt: skip
    first, second, *others = tiled.samples[:9]
    assert first.size_hw == (64, 64)
    assert first.boxes_xyxy == pytest.approx(
        np.array([[10, 10, 20, 20], [60, 10, 64, 20]]), abs=1e-4
    )
    assert first.class_ids.tolist() == [0, 1]
    assert first.areas == pytest.approx([100, 40], abs=1e-3)
    assert second.boxes_xyxy == pytest.approx(np.array([[12, 10, 22, 20]]), abs=1e-4)
    # Of 120×70 = 8400 px², the middle tile shows 64×32 (24 %), the one below it 64×54 (41 %).
    assert [len(sample.class_ids) for sample in others] == [0, 0, 0, 0, 0, 1, 0]
    assert others[5].boxes_xyxy == pytest.approx(np.array([[0, 0, 64, 54]]), abs=1e-4)
    # The whole image, and the one that is no larger than a tile, stay as they are.
    whole, small = tiled.samples[9:]
    assert whole is dataset.samples[0]
    assert small is dataset.samples[1]
    # Cut: the second object in the first tile; the third in 0..64, 48..112 and 96..160 of both rows
    assert lines == [
        "tiles of 64 px, overlap 0.25, and the whole image: 2 images become 11 images and tiles, 6 "
        "tiles without objects included",
        "boxes cut off at borders of tiles: 7; dropped, with less than 0.39 of them visible: 5",
    ]


def test_objects_that_no_tile_shows_are_counted(data: Path):
    tiled, lines = cut_into_tiles(
        open_dataset(data, "train"), settings(tile_visible=0.5, tile_whole=False)
    )
    assert len(tiled.samples) == 9 + 1
    assert lines[2:] == [
        "objects of which no image or tile shows as much: 1; a larger --tile-overlap, or "
        "--tile-whole, shows them"
    ]


def test_the_whole_image_is_used_for_objects_larger_than_the_overlap(data: Path):
    dataset = open_dataset(data, "train")
    # The longest side is 120 px: 0.5 · 159 = 79.5 is less, 0.81 · 150 = 121.5 is not.
    assert len(cut_into_tiles(dataset, settings(tiles=159, tile_overlap=0.5))[0]) == 4 + 1 + 1
    assert len(cut_into_tiles(dataset, settings(tiles=150, tile_overlap=0.81))[0]) == 4 + 1


def test_nothing_is_cut_of_images_that_are_small(data: Path):
    dataset = open_dataset(data, "train")
    tiled, lines = cut_into_tiles(dataset, settings(tiles=SIDE))
    assert tiled.samples == dataset.samples
    assert lines == [
        "tiles of 160 px, overlap 0.25, and the whole image: 2 images become 2 images and tiles, 0 "
        "tiles without objects included"
    ]


def test_an_image_with_too_many_tiles(tmp_path: Path):
    write_image(tmp_path / "images" / "a.png", np.zeros((500, 500, 3), np.uint8))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    dataset = open_dataset(tmp_path, "train", max_unlabeled=1)
    with pytest.raises(DetectorError) as caught:  # 500 - 28 = 472 in steps of 4: 118 in a row
        cut_into_tiles(dataset, settings(tiles=32, tile_overlap=0.88))
    assert str(caught.value) == (
        f"{tmp_path / 'images' / 'a.png'}: 13924 tiles of 32 px with an overlap of 28 px cover an "
        "image of 500×500 px, at most 10000 are made; choose larger tiles"
    )


def test_classes_have_no_boxes(data: Path):
    dataset = replace(open_dataset(data, "train"), task="classify")
    with pytest.raises(DetectorError) as caught:
        cut_into_tiles(dataset, settings())
    assert str(caught.value) == "--tiles 64: a classifier has no boxes; omit it"


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_each_example_has_the_pixels_of_its_tile(data: Path, cache: Any, tmp_path: Path):
    """The red of each pixel is its column, the green its row."""
    tiled, _ = cut_into_tiles(open_dataset(data, "train"), settings(tile_whole=False))
    samples = tiled.samples[:9]
    for _ in range(2):  # from the file, then from the cache
        images = image_cache(
            cache,
            [sample.path for sample in samples],
            (64, 64),
            tmp_path / "cache",
            [sample.window_xyxy for sample in samples],
        )
        for index in range(9):
            x1, y1, x2, y2 = samples[index].window_xyxy
            image = images[index]
            assert image[0, :, 0].tolist() == list(range(x1, x2))
            assert image[:, 0, 1].tolist() == list(range(y1, y2))
            assert np.array_equal(image, samples[index].read_image())
    if isinstance(images, DiskCache):
        assert len(list(images.folder.glob("*.npz"))) == 9


def test_a_file_is_decoded_once_for_all_its_tiles(data: Path, tmp_path: Path, monkeypatch):
    tiled, _ = cut_into_tiles(open_dataset(data, "train"), settings())
    samples = tiled.samples
    images = image_cache(
        "ram",
        [sample.path for sample in samples],
        (64, 64),
        tmp_path,
        [sample.window_xyxy for sample in samples],
    )
    whole = images[0]
    assert len(images.images) == 10
    assert whole.base is None  # a view would keep the whole image in memory
    monkeypatch.setattr("detector.data.cache.read_image", None)
    assert images[9].shape == (64, 64, 3)


def test_training_examples(data: Path):
    tiled, _ = cut_into_tiles(open_dataset(data, "train"), settings())
    fitted = TrainingSet(tiled.samples, Preprocess(size_hw=(128, 128)), None)[0, 1, 0]
    # 48..112 at twice its size: 60..70 becomes 24..44
    assert fitted.boxes_xyxy == pytest.approx(np.array([[24, 20, 44, 40]]), abs=1e-3)
    augmented = settings(batch=4, workers=0, cache="none")
    loader = training_loader(tiled, Preprocess(size_hw=(64, 64)), augmented)
    assert sum(len(batch) for batch in loader) == 11
