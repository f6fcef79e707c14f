"""ONNX Runtime without this package gives the boxes of ``detect``, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.export.request import export
from detector.predict import Predictor
from detector.utils.opencv import read_image, write_image

SCRIPT = "plain_onnxruntime.py"


def boxes_of_detect(weights: Path, image: Path) -> list[Any]:
    found = Predictor(weights, confidence=0.25).predict(image).to_dict()
    keys = found["class_names"], found["scores"], found["boxes_xyxy"]
    return [
        {"name": name, "score": score, "box_xyxy": box}
        for name, score, box in zip(*keys, strict=True)
    ]


def compare(example: Any, weights: Path, image: Path, drawn: Path) -> int:
    """Return how many boxes both find."""
    done = example(SCRIPT, weights, image, drawn, package=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == boxes_of_detect(weights, image)
    changed = np.any(read_image(drawn) != read_image(image))
    assert bool(changed) == bool(found)
    return len(found)


def test_the_boxes_of_detect(example: Any, finder: Path, finder_images: Path, tmp_path: Path):
    """Five images, one of them wide, so that it is padded; see conftest.FOUND."""
    weights = export(finder, output=tmp_path / "finder.onnx", nms=True, confidence=0.25).path
    counts = [
        compare(example, weights, image, tmp_path / "drawn.png")
        for image in sorted(finder_images.glob("*.png"))
    ]
    assert counts == [1, 1, 2, 1, 0]


@pytest.mark.slow
def test_another_preprocessing(example: Any, shared: Path, tmp_path: Path):
    """YOLOX: blue first, padded at the right and below, rounded down."""
    checkpoint = shared / "weights" / "yolox_nano_coco.pth"
    weights = export(checkpoint, output=tmp_path / "n.onnx", nms=True, confidence=0.25).path
    image = shared / "data" / "coco128" / "images" / "train2017" / "000000000009.jpg"
    write_image(tmp_path / "image.png", read_image(image)[:, :461])  # 461 · 416 / 480 = 399.5
    assert compare(example, weights, tmp_path / "image.png", tmp_path / "drawn.png") > 2


def test_what_it_does_not_take(
    example: Any, finder_onnx: Path, finder_images: Path, tmp_path: Path
):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    image, drawn = finder_images / "a.png", tmp_path / "drawn.png"

    def refused(*words: Any) -> str:
        done = example(SCRIPT, *words, package=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        return done.stderr.strip()

    expected = "expected a file of `detector export --nms` for one image at a time"
    assert refused(finder_onnx, image, drawn) == f"{finder_onnx}: {expected}"
    assert refused(other, image, drawn).startswith(f"{other}: [ONNXRuntimeError]")
    assert refused(image).endswith("WEIGHTS IMAGE DRAWN")


def test_it_imports_nothing_of_this_package():
    text = (Path(__file__).parents[2] / "examples" / SCRIPT).read_text()
    imported = [line.split()[1] for line in text.splitlines() if line.startswith("import ")]
    assert sorted(imported) == ["cv2", "json", "numpy", "onnxruntime", "os", "sys"]
