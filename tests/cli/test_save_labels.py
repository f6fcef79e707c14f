"""``detect --save-labels``: labels to correct, read again where we know the format; ``convert``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from detector.data.dataset import open_dataset

FOUND = {
    "a": [(0, [0, 0, 16, 16])],
    "b": [(1, [32, 16, 48, 32])],
    "c": [(0, [48, 48, 64, 64]), (1, [0, 32, 16, 48])],
    "d": [(0, [32, 0, 64, 32])],
    "e": [],
}
"""Class and box of each image's squares; reds have a score of 0.99997, greens of 0.98678."""

Run = Callable[..., Any]


@pytest.mark.parametrize("name", ["yolo", "coco", "voc"])
def test_labels_are_read_again(
    name: str, run: Run, finder: Path, finder_images: Path, tmp_path: Path
):
    words = ("--weights", finder, "--source", finder_images, "--output", tmp_path, "--no-draw")
    ran = run("detect", *words, "--save-labels", name)
    assert ran.out.splitlines()[-1] == f"labels: {tmp_path / name}: 5 images, 5 boxes"
    assert ran.metrics["labels"] == {"output": str(tmp_path / name), "images": 5, "boxes": 5}
    dataset = open_dataset(tmp_path / name, "train")
    assert dataset.names == ("red", "green")
    assert [sample.path.stem for sample in dataset.samples] == list(FOUND)
    for sample in dataset.samples:
        expected = FOUND[sample.path.stem]
        assert sample.class_ids.tolist() == [class_id for class_id, _ in expected]
        boxes = np.array([box for _, box in expected]).reshape(-1, 4)
        np.testing.assert_allclose(sample.boxes_xyxy, boxes, atol=1e-3)


def test_no_scores_in_yolo_txt(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    words = ("--weights", finder, "--source", finder_images / "d.png", "--output", tmp_path)
    assert run("detect", *words, "--no-draw", "--save-labels", "yolo").code == 0
    (line,) = (tmp_path / "yolo/labels/d.txt").read_text().splitlines()
    assert len(line.split()) == 5


@pytest.mark.parametrize(
    ("words", "reds", "greens"),
    [
        ([], 3, 2),
        (["--label-confidence", "0.99"], 3, 0),
        (["--label-confidence", "0.99", "--class-confidence", "green=0.5"], 3, 2),
        (["--class-confidence", "red=1,green=0.98"], 0, 2),
        (["--class-confidence", "1=0.99"], 3, 0),
    ],
)
def test_confidences(
    words: list[str],
    reds: int,
    greens: int,
    run: Run,
    finder: Path,
    finder_images: Path,
    tmp_path: Path,
):
    where = ("--weights", finder, "--source", finder_images, "--output", tmp_path, "--no-draw")
    ran = run("detect", *where, "--save-labels", "coco", *words)
    assert ran.metrics["counts"] == {"red": 3, "green": 2}  # what is found stays the same
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    found = [one["category_id"] for one in content["annotations"]]
    assert (found.count(1), found.count(2)) == (reds, greens)


def test_label_studio(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    words = ("--weights", finder, "--source", finder_images, "--output", tmp_path, "--no-draw")
    assert run("detect", *words, "--save-labels", "labelstudio").code == 0
    tasks = json.loads((tmp_path / "labelstudio/tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d={name}.png" for name in FOUND
    ]
    (prediction,) = tasks[3]["predictions"]  # d is 128 wide and 64 high
    assert prediction["model_version"] == "finder.safetensors"
    value = prediction["result"][0]["value"]
    assert value.pop("rectanglelabels") == ["red"]
    expected = {"x": 25.0, "y": 0.0, "width": 25.0, "height": 50.0, "rotation": 0}
    assert value == pytest.approx(expected, abs=1e-3)
    config = ElementTree.parse(tmp_path / "labelstudio/config.xml")
    assert [label.get("value") for label in config.iter("Label")] == ["red", "green"]


def test_cvat(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    words = ("--weights", finder, "--source", finder_images, "--output", tmp_path, "--no-draw")
    assert run("detect", *words, "--save-labels", "cvat").code == 0
    root = ElementTree.parse(tmp_path / "cvat/annotations.xml").getroot()
    found = {image.get("name"): [box.get("label") for box in image] for image in root.iter("image")}
    assert found == {
        f"{name}.png": [("red", "green")[class_id] for class_id, _ in boxes]
        for name, boxes in FOUND.items()
    }


def test_images_of_several_folders(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    """Names are paths below the folder of all images; an image that is listed twice counts once."""
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shutil.copy(finder_images / "a.png", tmp_path / folder)
    (tmp_path / "list.txt").write_text("x/a.png\ny/a.png\nx/a.png\n")
    words = ("--weights", finder, "--source", tmp_path / "list.txt", "--output", tmp_path / "out")
    ran = run("detect", *words, "--no-draw", "--save-labels", "voc")
    assert ran.metrics["labels"]["images"] == 2
    labels = (tmp_path / "out/voc/Annotations").rglob("*.xml")
    assert sorted(path.parent.name for path in labels) == ["x", "y"]
    assert len(open_dataset(tmp_path / "out/voc", "train").samples) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--save-labels", "cvta"],
            "--save-labels: expected 'coco', 'yolo', 'voc', 'labelstudio' or 'cvat', found 'cvta'",
        ),
        (
            ["--label-confidence", "0.5"],
            "--label-confidence: only --save-labels has labels; omit it",
        ),
        (
            ["--save-labels", "coco", "--label-confidence", "0.1"],
            "a label's confidence of 0.1 is below --confidence 0.25, under which no box is kept",
        ),
        (
            ["--save-labels", "coco", "--class-confidence", "gren=0.5"],
            "unknown class 'gren'; did you mean 'green'?",
        ),
        (
            ["--save-labels", "coco", "--class-confidence", "green"],
            "--class-confidence: expected CLASS=SCORE with a score of 0 to 1, found 'green'",
        ),
        (
            ["--save-labels", "coco", "--class-confidence", "green=2"],
            "--class-confidence: expected CLASS=SCORE with a score of 0 to 1, found 'green=2'",
        ),
        (
            ["--save-labels", "coco", "--class-confidence", "green=0.5,1=0.6"],
            "--class-confidence: 'green' is named twice",
        ),
        (
            ["--save-labels", "coco", "--shard", "1/2"],
            "--save-labels coco: one file, which several processes cannot write; yolo and voc have "
            "a file for each image",
        ),
    ],
)
def test_wrong_requests(
    words: list[str],
    expected: str,
    fails: Callable[..., str],
    finder: Path,
    finder_images: Path,
    tmp_path: Path,
):
    where = ("--weights", finder, "--source", finder_images, "--output", tmp_path, "--no-draw")
    assert fails("detect", *where, *words) == expected


def test_convert_prints_what_it_returns(
    run: Run, fails: Callable[..., str], finder_data: Path, tmp_path: Path
):
    ran = run("convert", "--data", finder_data, "--to", "voc", tmp_path / "out")
    assert ran.metrics["boxes"] == {"train": 5, "val": 5}
    assert ran.out.splitlines()[-1] == (
        f"{tmp_path / 'out'}: Pascal VOC XML, train 5 images and 5 boxes, val 5 images and 5 boxes"
    )
    assert fails("convert", "--data", finder_data, "--to", "voc") == "OUT is missing"
    assert fails("convert", "--data", finder_data, tmp_path / "x") == "--to is missing"
    assert fails("convert", "--to", "voc", tmp_path / "x") == (
        "--data is missing, the images to convert: give --data FOLDER or --data FILE.yaml; the "
        "built-in drawn images are --data datasets/shapes.yaml"
    )
    assert fails("convert", "--data", finder_data, "--to", "csw", tmp_path / "x") == (
        "--to: expected 'yolo', 'coco', 'voc' or 'csv', found 'csw'"
    )
    assert fails("convert", "--data", finder_data, "--to", "csv", tmp_path / "x", "y") == (
        "unexpected word 'y'; several values are written as a,b,c"
    )
