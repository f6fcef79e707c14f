"""A model and images small enough to train in seconds."""

from pathlib import Path

import numpy as np
import pytest

from detector.opencv import write_image

MODEL = """
nc: 2
anchors: [[12, 12, 24, 24], [32, 32, 48, 48]]
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
head:
  - [-1, 1, Conv, [16, 3, 2]]
  - [[2, 3], 1, Detect, [nc, anchors]]
"""


@pytest.fixture(scope="session")
def tiny_cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cfg") / "tiny.yaml"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight grey images with one red or green square each, in YOLO's layout."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / "labels" / split).mkdir(parents=True)
        for number in range(8):
            image = rng.integers(90, 110, (64, 64, 3)).astype(np.uint8)
            x, y = rng.integers(0, 32, 2)
            kind = number % 2
            image[y : y + 32, x : x + 32] = ((200, 30, 30), (30, 200, 30))[kind]
            write_image(root / "images" / split / f"{number}.png", image)
            cx, cy = (x + 16) / 64, (y + 16) / 64
            label = root / "labels" / split / f"{number}.txt"
            label.write_text(f"{kind} {cx} {cy} 0.5 0.5\n")
    definition = root / "tiny.yaml"
    definition.write_text(
        f"path: {root}\nnames: [red, green]\nsplits: {{train: images/train, val: images/val}}\n"
    )
    return definition
