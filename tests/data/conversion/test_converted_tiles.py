"""Conversion into tiles: each is an image with the pixels and boxes that training has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import detector
from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.tiles import cut_into_tiles
from detector.settings.datasets import ConvertSettings
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image, write_image

TILES = {"tiles": 64, "tile_overlap": 0.25}


@pytest.fixture
def maps(tmp_path: Path, rng: np.random.Generator) -> Path:
    """One image of 96×160 px with three boxes, and one of 40×50 px with one, as COCO JSON."""
    root = tmp_path / "maps"
    images, annotations = [], []
    boxes = {("large.png", 96, 160): [[10, 10, 20, 20], [60, 60, 30, 30], [120, 5, 30, 90]]}
    boxes |= {("small.png", 40, 50): [[5, 5, 20, 20]]}
    for image_id, ((name, height, width), its_boxes) in enumerate(boxes.items(), start=70):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        (root / "images").mkdir(parents=True, exist_ok=True)
        write_image(root / "images" / name, pixels)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for x, y, w, h in its_boxes:
            annotation = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "category_id": 7}
            annotations.append(annotation | {"id": len(annotations) + 1, "image_id": image_id})
    content = {"images": images, "annotations": annotations}
    content |= {"categories": [{"id": 7, "name": "house"}], "licenses": [{"id": 1, "name": "CC"}]}
    (root / "train.json").write_text(json.dumps(content))
    (root / "data.yaml").write_text(
        "names: [house]\nsplits: {train: {annotations: train.json, images: images}}\n"
    )
    return root


def cut(data: Path, output: Path) -> DetectionDataset:
    """Return the tiles that training on the set would have."""
    settings = ConvertSettings(data=str(data), to="coco", output=output, **TILES)
    return cut_into_tiles(open_dataset(data, "train"), settings)[0]


@pytest.mark.parametrize("to", ["yolo", "coco", "voc", "csv"])
def test_each_tile_is_an_image(to: str, maps: Path, tmp_path: Path):
    report = detector.convert(maps, to, tmp_path / "out", **TILES)
    expected = {_name(sample): sample for sample in cut(maps, tmp_path / "unused").samples}
    written = {
        sample.path.name: sample for sample in open_dataset(tmp_path / "out", "train").samples
    }
    # 2 rows of tiles, at 0 and 32, times 3 columns, at 0, 48 and 96; the large image itself, since
    # a box of 90 px is larger than the overlap of 16; the small image
    assert report.images == {"train": 8}
    assert written.keys() == expected.keys() >= {"large_96_32.png", "large.png", "small.png"}
    for name, sample in expected.items():
        np.testing.assert_array_equal(read_image(written[name].path), sample.read_image())
        np.testing.assert_allclose(written[name].boxes_xyxy, sample.boxes_xyxy, atol=1e-3)
        assert written[name].size_hw == sample.size_hw
    assert "train: tiles of 64 px, overlap 0.25, and the whole image: 2 images become 8 images" in (
        "\n".join(report.notes)
    )


def _name(sample: object) -> str:
    path, window = sample.path, sample.window_xyxy  # type: ignore[attr-defined]
    return path.name if window is None else f"{path.stem}_{window[0]}_{window[1]}.png"


def test_coco_of_tiles_has_ids_of_its_own_and_says_what_is_left_out(maps: Path, tmp_path: Path):
    report = detector.convert(maps, "coco", tmp_path / "out", **TILES)
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [image["id"] for image in content["images"]] == list(range(1, 9))
    assert {annotation["category_id"] for annotation in content["annotations"]} == {7}
    assert "licenses" not in content
    assert any("licenses" in note for note in report.notes)


def test_small_images_stay_as_they_are(maps: Path, tmp_path: Path):
    report = detector.convert(maps, "coco", tmp_path / "out", tiles=160)
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [image["id"] for image in content["images"]] == [70, 71]
    assert content["licenses"] == [{"id": 1, "name": "CC"}]
    assert any("2 images become 2 images and tiles" in note for note in report.notes)


def test_tiles_without_a_size(maps: Path, tmp_path: Path):
    with pytest.raises(DetectorError, match="tile_visible: has no effect without tiles"):
        detector.convert(maps, "coco", tmp_path / "out", tile_visible=0.5)
    assert not (tmp_path / "out").exists()
