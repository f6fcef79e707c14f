"""A drawn data set in which faults of each kind are planted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from detector.data.checks.run import CheckedData, check_dataset
from detector.data.formats.definition import load_definition
from detector.structures.preprocess import Preprocess
from detector.utils.opencv import cv2, read_image

HEIGHT, WIDTH = 240, 320
NAMES = ["cell", "Cell", "platelet", "white", "never"]
IMAGES = {"train": 60, "val": 30}


@dataclass
class Planted:
    """The set's definition, and the pairs of file names (train, val) that were planted in it."""

    definition: Path
    exact: set[frozenset[str]] = field(default_factory=set)
    near: set[frozenset[str]] = field(default_factory=set)

    @property
    def root(self) -> Path:
        return self.definition.parent


def draw(rng: np.random.Generator) -> np.ndarray:
    """A picture of coarse clouds and ellipses, unlike all others."""
    clouds = rng.integers(60, 200, (9, 12, 3)).astype(np.uint8)
    picture = cv2.resize(clouds, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        center = tuple(int(v) for v in rng.integers(0, (WIDTH, HEIGHT)))
        axes = tuple(int(v) for v in rng.integers(8, 40, 2))
        cv2.ellipse(picture, center, axes, 30, 0, 360, rng.integers(0, 255, 3).tolist(), -1)
    return np.asarray(picture, np.uint8)


def row(class_id: int, x: float, y: float, w: float, h: float) -> str:
    """A row of YOLO txt for a box given by its left upper corner and size, pixels."""
    values = ((x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT)
    return f"{class_id} {' '.join(f'{value:.6f}' for value in values)}\n"


def jpeg(image_rgb: np.ndarray, quality: int) -> bytes:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", image_rgb[..., ::-1], flags)[1].tobytes()


CHANGES = {
    "compressed": lambda image: jpeg(image, 40),
    "resized": lambda image: jpeg(cv2.resize(image, (288, 216)), 90),
    "brighter": lambda image: jpeg(np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8), 90),
}


@pytest.fixture(scope="package")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """90 images, of which 75 are as they should be."""
    root, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(7)
    for split, count in IMAGES.items():
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            (root / "images" / split / f"{split}{number:02}.jpg").write_bytes(jpeg(draw(rng), 90))
            # "platelet" is in train only, "never" nowhere
            kinds = (0, 1, 2, 3) if split == "train" else (0, 1, 3)
            text = row(kinds[number % len(kinds)], 40, 40, 60, 50) + row(0, 150, 100, 70, 60)
            (root / "labels" / split / f"{split}{number:02}.txt").write_text(text)
    definition = root / "data.yaml"
    definition.write_text(f"names: {NAMES}\ntrain: images/train\nval: images/val\n")
    made = Planted(definition)
    train, val = root / "images/train", root / "images/val"
    for number in range(5):
        shutil.copy(val / f"val{number:02}.jpg", train / f"copy{number}.jpg")
        shutil.copy(
            root / f"labels/val/val{number:02}.txt", root / f"labels/train/copy{number}.txt"
        )
        made.exact.add(frozenset({f"copy{number}.jpg", f"val{number:02}.jpg"}))
    for number in range(10):
        change = list(CHANGES)[number % 3]
        name = f"{change}{number}.jpg"
        source = val / f"val{10 + number}.jpg"
        (train / name).write_bytes(CHANGES[change](read_image(source)))
        (root / f"labels/train/{change}{number}.txt").write_text(row(3, 40, 40, 60, 50))
        made.near.add(frozenset({name, source.name}))
    plant_labels(root)
    (root / "images/train/train40.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (root / "images/train/train41.jpg").write_bytes(jpeg(draw(rng), 90)[:3000])
    unlike(root, rng)
    return made


def plant_labels(root: Path) -> None:
    def add(stem: str, *rows: str) -> None:
        with (root / f"labels/train/{stem}.txt").open("a") as file:
            file.writelines(rows)

    for number in range(30):  # tiny: 4 px
        add(f"train{number:02}", row(0, 10 + number, 200, 4, 4))
    for number in range(3):
        (root / f"labels/train/nobody{number}.txt").write_text(row(0, 10, 10, 20, 20))
    add("train30", row(0, 150, 100, 70, 60))  # equal to the one that is there
    add("train31", row(0, 151, 100, 70, 60))  # IoU 69 / 71 = 0.97
    add("train32", row(1, 150, 100, 70, 60))  # of another class
    add("train33", row(0, 160, 110, 20, 20))  # nested
    add("train34", row(3, 300, 20, 40, 30))  # 20 px beyond the border
    add("train35", row(3, 20, 20, 0, 30))
    add("train36", row(3, 330, 20, 40, 30))
    add("train37", row(3, 10, 150, 210, 10))  # 21 times as long as high
    add("train38", row(3, 0, 0, 320, 240))
    add("train39", "9 0.5 0.5 0.1 0.1\n")
    (root / "labels/train/train42.txt").unlink()
    (root / "labels/train/train43.txt").write_text("")


def unlike(root: Path, rng: np.random.Generator) -> None:
    """Images that look unlike the others."""
    train, picture = root / "images/train", draw(rng)
    pictures = {
        "train44": np.full_like(picture, 90),  # blank
        "train45": (picture * 0.1).astype(np.uint8),  # dark
        "train46": (255 - picture * 0.08).astype(np.uint8),  # bright
        "train47": cv2.GaussianBlur(draw(rng), (0, 0), 15),
        "train48": np.repeat(draw(rng).mean(2, keepdims=True).astype(np.uint8), 3, axis=2),
        "train49": np.hstack([draw(rng) for _ in range(4)]),  # 1280×240
    }
    for stem, image in pictures.items():
        (train / f"{stem}.jpg").write_bytes(jpeg(np.asarray(image, np.uint8), 95))
    turned = jpeg(draw(rng), 90)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (train / "train50.jpg").write_bytes(turned[:2] + segment + turned[2:])
    alpha = np.dstack([draw(rng), np.full((HEIGHT, WIDTH), 200, np.uint8)])
    (train / "train51.jpg").unlink()
    (train / "train51.png").write_bytes(cv2.imencode(".png", alpha)[1].tobytes())
    (train / "train52.jpg").unlink()
    deep = draw(rng).astype(np.uint16) * 257
    (train / "train52.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())


@pytest.fixture(scope="package")
def checked(planted: Planted) -> CheckedData:
    """The planted set, checked for an input of 320 px."""
    definition = load_definition(planted.definition)
    return check_dataset(definition, Preprocess(size_hw=(320, 320)), 32)
