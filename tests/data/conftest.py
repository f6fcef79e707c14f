"""Folders of small images with labels in each format."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.utils.opencv import cv2, write_image

ImageMaker = Callable[..., Path]


@pytest.fixture
def make_image(tmp_path: Path) -> ImageMaker:
    """Write an image below ``tmp_path``; (h, w) is 20×40 by default."""

    def make(name: str, size_hw: tuple[int, int] = (20, 40), level: int = 128) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((*size_hw, 3), level, np.uint8))
        return path

    return make


@pytest.fixture
def yolo_folder(tmp_path: Path, make_image: ImageMaker) -> Callable[[Mapping[str, str]], Path]:
    """Write ``images/train``, ``labels/train`` with the given texts, and a definition file."""

    def make(labels: Mapping[str, str], names: str = "[cat, dog]") -> Path:
        (tmp_path / "labels/train").mkdir(parents=True)
        for stem, text in labels.items():
            make_image(f"images/train/{stem}.png")
            (tmp_path / f"labels/train/{stem}.txt").write_text(text)
        definition = tmp_path / "set.yaml"
        definition.write_text(f"names: {names}\nsplits:\n  train: images/train\n")
        return definition

    return make


@pytest.fixture
def coco_folder(tmp_path: Path, make_image: ImageMaker) -> Callable[..., Path]:
    """Write two 20×40 images, categories 3 dog and 7 cat, annotations, and a definition."""

    def make(annotations: list[dict[str, Any]], **changes: Any) -> Path:
        make_image("pictures/a.png")
        make_image("pictures/b.png")
        content = {
            "images": [
                {"id": 10, "file_name": "a.png", "height": 20, "width": 40},
                {"id": 4, "file_name": "b.png", "height": 20, "width": 40},
            ],
            "annotations": annotations,
            "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
            **changes,
        }
        (tmp_path / "truth.json").write_text(json.dumps(content))
        definition = tmp_path / "set.yaml"
        definition.write_text("splits: {val: {annotations: truth.json, images: pictures}}\n")
        return definition

    return make


def voc_xml(*objects: str, size_wh: tuple[int, int] = (40, 20)) -> str:
    """Return an annotation with a line per object, ``"name xmin ymin xmax ymax [difficult]"``."""
    lines = [f"<size><width>{size_wh[0]}</width><height>{size_wh[1]}</height></size>"]
    for text in objects:
        name, x1, y1, x2, y2, *difficult = text.split()
        flag = f"<difficult>{difficult[0]}</difficult>" if difficult else ""
        lines.append(
            f"<object><name>{name}</name>{flag}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        )
    return "<annotation>\n" + "\n".join(lines) + "\n</annotation>\n"


@pytest.fixture
def voc_folder(tmp_path: Path, make_image: ImageMaker) -> Callable[[Mapping[str, str]], Path]:
    """Write VOC's folders with the given XML texts; every image is in ``train.txt``."""

    def make(xml: Mapping[str, str]) -> Path:
        for folder in ("Annotations", "ImageSets/Main"):
            (tmp_path / folder).mkdir(parents=True)
        for stem, text in xml.items():
            make_image(f"JPEGImages/{stem}.jpg")
            (tmp_path / f"Annotations/{stem}.xml").write_text(text)
        (tmp_path / "ImageSets/Main/train.txt").write_text("\n".join(xml) + "\n")
        definition = tmp_path / "set.yaml"
        definition.write_text(
            "names: [cat, dog]\n"
            "train: {images: JPEGImages, annotations: Annotations, "
            "image_set: ImageSets/Main/train.txt}\n"
        )
        return definition

    return make


def write_jpeg_with_orientation(path: Path, image_rgb: np.ndarray, orientation: int) -> None:
    """Write a JPEG with an EXIF orientation (6: viewers rotate it by 90° clockwise)."""
    data = cv2.imencode(".jpg", image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    # TIFF, little-endian: header, one entry (tag 0x0112, type SHORT, one value), no next block.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    block = b"Exif\0\0" + tiff
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
