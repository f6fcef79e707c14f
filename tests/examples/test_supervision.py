"""supervision draws what the Predictor found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from detector.utils.opencv import read_image


def test_each_image_is_drawn(example: Any, finder_onnx: Path, finder_images: Path, tmp_path: Path):
    done = example("supervision_annotate.py", finder_onnx, finder_images, tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "a: red 1.00",
        "b: green 0.99",
        "c: red 1.00, green 0.99",
        "d: red 1.00",
        "e: nothing",
    ]
    for image in finder_images.glob("*.png"):
        drawn = read_image(tmp_path / "drawn" / f"{image.stem}.jpg").astype(int)
        difference = np.abs(drawn - read_image(image)).max()
        assert (difference > 60) == (image.stem != "e")  # a JPEG of an empty image is nearly equal


def test_errors_are_one_line(example: Any, finder_onnx: Path, tmp_path: Path):
    done = example("supervision_annotate.py", finder_onnx, tmp_path / "none", tmp_path)
    message = f"error: {tmp_path}/none: no such file or folder; did you mean"
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(message.removesuffix("; did you mean"))
    assert example("supervision_annotate.py").stderr.endswith("WEIGHTS SOURCE OUTPUT\n")
