"""A real classifier: blood cells, cut out of BCCD's images by their boxes, on its own lists."""

import json
from pathlib import Path

import pytest

from detector.checkpoint import load, save_weights
from detector.cli import run_tool
from detector.data.dataset import open_dataset
from detector.opencv import read_image, write_image
from detector.reparam import deploy

MODEL = """
imgsz: 64
activation: ReLU
preprocess:
  mode: stretch
  mean_rgb: [123.675, 116.28, 103.53]
  scale_rgb: [58.395, 57.12, 57.375]
backbone:
  - [-1, 1, RepVGGStage, {c_out: 16}]
  - [-1, 2, RepVGGStage, {c_out: 32}]
  - [-1, 2, RepVGGStage, {c_out: 64}]
  - [-1, 1, RepVGGStage, {c_out: 128}]
head:
  - [-1, 1, Classify, [nc]]
"""


def cut_out(data: Path, folder: Path) -> None:
    """One image a cell, in a folder for each split and class."""
    for split in ("train", "val", "test"):
        dataset = open_dataset(data, split)
        for sample in dataset.samples:
            image = read_image(sample.path)
            for number, (box, kind) in enumerate(
                zip(sample.boxes_xyxy.astype(int), sample.class_ids, strict=True)
            ):
                x1, y1, x2, y2 = box.tolist()
                name = f"{sample.path.stem}_{number}.png"
                write_image(folder / split / dataset.names[kind] / name, image[y1:y2, x1:x2])


@pytest.mark.slow
def test_three_kinds_of_blood_cells(shared: Path, tmp_path: Path):
    cut_out(shared / "data/bccd", tmp_path / "cells")
    (tmp_path / "small.yaml").write_text(MODEL)
    words = ["--cfg", tmp_path / "small.yaml", "--project", tmp_path, "--name", "run"]
    words += [
        "--epochs",
        5,
        "--scale",
        0.2,
        "--flipud",
        0.5,
        "--ema-warmup",
        50,
        "--warmup-epochs",
        1,
        "--learning-rate",
        0.02,
    ]
    common = ["--data", tmp_path / "cells"]
    assert run("train", *words, *common, "--device", "cpu") == 0
    weights = tmp_path / "run" / "best.safetensors"
    save_weights(tmp_path / "deployed.safetensors", deploy(load(weights))[0])
    assert (
        run("export", "--weights", weights, "--output", tmp_path / "cells.onnx", "--dynamic") == 0
    )
    found = []
    for file in (weights, tmp_path / "deployed.safetensors", tmp_path / "cells.onnx"):
        figures = tmp_path / "figures.json"
        assert run("val", "--weights", file, *common, "--split", "test", "--json", figures) == 0
        found.append(json.loads(figures.read_text()))
    assert found[0]["top1"] >= 0.97
    assert found[1] == found[2] == found[0]


def run(tool: str, *words: object) -> int:
    return run_tool(tool, [str(word) for word in words])
