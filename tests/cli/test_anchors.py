"""``anchors``: fits anchors to a data set, and says how much better they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.utils.opencv import write_image

Run = Callable[..., Any]

MODEL = """
nc: 2
anchors: [[4, 4], [8, 8]]
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, Conv, [8, 3, 2]]
  - [[0, 1], 1, Detect, [nc, anchors]]
"""


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(MODEL)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images of 100×50 with boxes around 10×10 and 40×20 pixels."""
    root = tmp_path / "set"
    (root / "labels").mkdir(parents=True)
    for number in range(4):
        write_image(root / "images" / f"{number}.png", np.full((50, 100, 3), 90, np.uint8))
        small, large = 10 + number % 2, 40 + number % 2
        (root / "labels" / f"{number}.txt").write_text(
            f"0 0.3 0.3 {small / 100} {small / 50}\n1 0.5 0.5 {large / 100} 0.4\n"
        )
    definition = root / "data.yaml"
    definition.write_text("names: [small, large]\ntrain: images\nval: images\n")
    return definition


def test_fit(run: Run, cfg: Path, data: Path):
    ran = run("anchors", "--cfg", cfg, "--data", data, "--imgsz", 200)
    assert ran.code == 0
    # Letterboxed to 200 pixels the images are twice as large: means of 20, 22 and of 80, 82 by 40,
    # moved by a pixel at most to what agrees best.
    assert np.abs(np.subtract(ran.metrics["anchors"], [[21, 21], [81, 40]])).max() <= 1
    # The file's 4×4 and 8×8 are within 4 times of the small ones (22 / 8 < 4), not of the others.
    assert ran.metrics["recall_before"] == 0.5
    assert ran.metrics["recall_after"] == 1.0
    lines = ran.out.splitlines()
    assert lines[-2] == "boxes 8; best possible recall: file 0.5000, fitted 1.0000"
    assert lines[-1] == f"anchors: {ran.metrics['anchors']}"


def test_the_printed_line_goes_into_the_file(run: Run, cfg: Path, data: Path):
    line = run("anchors", "--cfg", cfg, "--data", data, "--imgsz", 200).out.splitlines()[-1]
    cfg.write_text(MODEL.replace("anchors: [[4, 4], [8, 8]]", line))
    again = run("anchors", "--cfg", cfg, "--data", data, "--imgsz", 200)
    assert again.metrics["recall_before"] == again.metrics["recall_after"] == 1.0


def test_a_count_of_anchors(run: Run, cfg: Path, data: Path):
    """While the file gives only their number, nothing is known of recall before."""
    cfg.write_text(MODEL.replace("anchors: [[4, 4], [8, 8]]", "anchors: 1"))
    ran = run("anchors", "--cfg", cfg, "--data", data, "--imgsz", 200)
    assert np.shape(ran.metrics["anchors"]) == (2, 2)
    assert ran.metrics["recall_after"] == 1.0


def test_errors(fails: Run, cfg: Path, data: Path, tmp_path: Path):
    none = tmp_path / "missing.yaml"
    assert fails("anchors", "--cfg", none, "--data", data) == f"{none}: no such file"
    assert fails("anchors", "--cfg", cfg, "--data", data, "--split", "tran") == (
        f"{data}: no split 'tran'; did you mean 'train'?"
    )
    cfg.write_text(MODEL.replace("anchors: [[4, 4], [8, 8]]", "anchors: 4"))
    assert fails("anchors", "--cfg", cfg, "--data", data).startswith("8 anchors need as many boxes")
    assert fails("anchors", "--cfg", cfg).startswith("--data is missing, the images to fit anchors")
