"""A classifier's whole way: train, val, deploy, export, val and detect again."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.engine.head_settings import train_settings
from detector.export.formats import FORMATS
from detector.model.deploy import deploy
from detector.predict import Predictor, open_backend
from detector.utils.opencv import read_image, write_image
from detector.weights.checkpoint import load, read_metadata, save_weights

Run = Callable[..., Any]

MODEL = """
imgsz: 32
activation: ReLU
preprocess: {mode: crop, mean_rgb: [123.675, 116.28, 103.53], scale_rgb: [58.4, 57.1, 57.4]}
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
head:
  - [[1, 0], 1, Classify, [nc]]
"""
ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"green": (30, 200, 30), "red": (200, 30, 30)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images with a coloured rectangle, in a folder for each split and colour."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(12):
            name = sorted(COLOURS)[number % 2]
            image = rng.integers(90, 110, (40, 56, 3)).astype(np.uint8)
            image[8:32, 8:48] = COLOURS[name]
            write_image(root / split / name / f"{number}.png", image)
    return root


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cfg") / "tiny.yaml"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def weights(cfg: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best weights of two epochs."""
    from detector.cli import run_tool

    project = tmp_path_factory.mktemp("runs")
    words = ["--cfg", cfg, "--data", folder, "--project", project, "--name", "run"]
    words += ["--epochs", 2, "--batch", 2, "--nominal-batch", 2, "--ema-warmup", 1]
    words += ["--warmup-epochs", 0.1, "--device", "cpu"]
    assert run_tool("train", [str(word) for word in words]) == 0
    return project / "run" / "best.safetensors"


@pytest.fixture(scope="module", params=["onnx", "openvino", "pt2"])
def exported(weights: Path, request: pytest.FixtureRequest) -> Path:
    from detector.cli import run_tool

    path = FORMATS[request.param].path(weights.with_suffix(""))
    words = ["--weights", weights, "--format", request.param, "--dynamic"]
    report = weights.with_name("export.json")
    assert run_tool("export", [str(word) for word in [*words, "--json", report]]) == 0
    found = json.loads(report.read_text())
    assert 0 <= found["max_score_diff"] < 1e-5 and found["max_box_diff_px"] == 0
    return path


def test_files_of_a_run(weights: Path):
    folder = weights.parent
    assert {path.name for path in folder.iterdir()} >= {"results.csv", "results.png"}
    header, *rows = (folder / "results.csv").read_text().splitlines()
    assert header == "epoch,loss_class,loss_auxiliary,learning_rate,top1,top5,seconds"
    assert len(rows) == 2
    metadata = read_metadata(weights)
    found = (metadata.task, metadata.names, metadata.preprocess.mode)
    assert found == ("classify", ("green", "red"), "crop")
    best = max(float(row.split(",")[4]) for row in rows)
    assert metadata.training["metrics"]["top1"] == pytest.approx(best)


def test_what_training_prints(run: Run, cfg: Path, folder: Path, tmp_path: Path):
    words = ("--cfg", cfg, "--data", folder, "--project", tmp_path, "--epochs", 1, "--batch", 12)
    ran = run("train", *words, "--mosaic", 0.5, "--device", "cpu")
    assert (ran.code, ran.err) == (
        2,
        "error: --mosaic is a setting of Detect and other heads, and this network's head is "
        "Classify; Classify has --albumentations, --fliplr, --flipud, --hsv-h, --hsv-s, --hsv-v, "
        "--label-smoothing and --scale\n",
    )
    ran = run("train", *words, "--device", "cpu")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert "class names are those of the folders, sorted" in lines
    assert f"split 'train' of {folder}: 12 images, from class folders" in lines
    assert "classes: 0 green, 1 red" in lines
    top1 = f"{ran.metrics['best']['top1']:.4f}"
    assert any(f"top1 {top1}, top5 1.0000 (best top1 {top1} in epoch 1)" in one for one in lines)
    assert any(line.startswith(f"best top1 {top1}, top5 1.0000 in epoch 1: ") for line in lines)


def test_val(run: Run, weights: Path, folder: Path, tmp_path: Path):
    predictions = tmp_path / "predictions.json"
    ran = run("val", "--weights", weights, "--data", folder, "--save-predictions", predictions)
    assert (ran.code, ran.err) == (0, "")
    assert ran.metrics.keys() == {"top1", "top5", "per_class"}
    assert ran.metrics["top5"] == 1
    found = json.loads(predictions.read_text())
    assert len(found) == 12
    # The first six images are green, category 1.
    right = [result["category_ids"][0] == 1 + (n >= 6) for n, result in enumerate(found)]
    assert ran.metrics["top1"] == pytest.approx(np.mean(right))
    assert ran.metrics["per_class"] == {
        "green": pytest.approx(np.mean(right[:6])),
        "red": pytest.approx(np.mean(right[6:])),
    }
    lines = ran.out.splitlines()
    assert "accuracy on 12 images" in lines
    assert lines[-1].split() == [f"{ran.metrics['top1']:.4f}", "1.0000"]


def test_deployed_and_exported_give_the_same(
    run: Run, weights: Path, exported: Path, folder: Path, tmp_path: Path
):
    deployed = tmp_path / "deployed.safetensors"
    save_weights(deployed, deploy(load(weights))[0])
    expected = run("val", "--weights", weights, "--data", folder).metrics
    assert run("val", "--weights", deployed, "--data", folder).metrics == expected
    assert run("val", "--weights", exported, "--data", folder).metrics == expected


def test_scores_of_another_machine_give_the_same(
    run: Run, fails: Run, exported: Path, folder: Path, tmp_path: Path
):
    """As arrays, as a list of scores, and as a list of best classes."""
    words = ("--weights", exported, "--data", folder)
    saved, inputs = tmp_path / "saved.json", tmp_path / "inputs"
    expected = run("val", *words, "--save-predictions", saved).metrics
    run("val", *words, "--dump-inputs", inputs)
    listed = json.loads((inputs / "inputs.json").read_text())
    assert listed["outputs"] == ["probabilities"]
    backend = open_backend(exported)
    images = np.concatenate([np.load(inputs / image["file"]) for image in listed["images"]])
    (probabilities,) = backend(images)
    shutil.copy(inputs / "inputs.json", tmp_path)
    np.savez(tmp_path / "all.npz", probabilities=probabilities)
    scores = tmp_path / "scores.json"
    ids = [image["image_id"] for image in listed["images"]]
    rows = [
        {"image_id": i, "scores": row} for i, row in zip(ids, probabilities.tolist(), strict=True)
    ]
    scores.write_text(json.dumps(rows))
    for file in (saved, tmp_path / "all.npz", scores):
        assert run("val", *words, "--predictions", file).metrics == expected
    scores.write_text(json.dumps([{"image_id": 1, "scores": [1]}]))
    assert fails("val", *words, "--predictions", scores) == (
        f"{scores}: image_id 1 has 1 scores, expected 2, or category_ids"
    )


def test_predictors_agree(weights: Path, exported: Path, folder: Path):
    image = read_image(folder / "val" / "red" / "1.png")
    (one,), (other,) = Predictor(weights)(image), Predictor(exported)(image)
    assert one.class_ids.tolist() == other.class_ids.tolist()
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    assert other.scores.sum() == pytest.approx(1)


def test_detect(run: Run, exported: Path, folder: Path, tmp_path: Path):
    words = ("--weights", exported, "--source", folder / "val" / "red", "--output", tmp_path)
    ran = run("detect", *words, "--jsonl", "--txt", "--iou", 0.5)
    message = "error: --iou, --txt: a classifier has no boxes; omit them\n"
    assert (ran.code, ran.err) == (2, message)
    ran = run("detect", *words, "--jsonl")
    assert (ran.code, ran.err) == (0, "")
    assert sum(ran.metrics["counts"].values()) == 6
    assert not (tmp_path / "labels").exists()
    records = [json.loads(line) for line in (tmp_path / "detections.jsonl").open()]
    assert len(records) == 6
    for record in records:
        assert record.keys() == {
            *("name", "path", "size_hw", "class_names", "probabilities", "class_ids")
        }
        assert sorted(record["class_names"]) == ["green", "red"]
        assert sum(record["probabilities"]) == pytest.approx(1, abs=1e-5)
    drawn = read_image(tmp_path / "1.png")
    assert drawn.shape == (40, 56, 3)
    assert (drawn != read_image(folder / "val" / "red" / "1.png")).any()


def test_a_list_with_names_of_a_file(run: Run, weights: Path, folder: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_text("red\ngreen\n")
    rows = [f"{path} {int(path.parent.name == 'green')}" for path in folder.glob("val/*/*.png")]
    (tmp_path / "val_label.txt").write_text("\n".join(rows))
    (tmp_path / "set.yaml").write_text("names: names.txt\nval: val_label.txt\n")
    ran = run("val", "--weights", weights, "--data", tmp_path / "set.yaml")
    expected = run("val", "--weights", weights, "--data", folder)
    assert ran.metrics == expected.metrics
    assert "2 classes matched by name, data → model: red → 1, green → 0" in ran.out.splitlines()


def test_unreadable_images_are_listed(
    run: Run, fails: Callable[..., str], weights: Path, tmp_path: Path
):
    write_image(tmp_path / "val/red/a.png", np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "val/red/b.png").write_text("no image")
    (tmp_path / "val/green").mkdir()
    (tmp_path / "val/green/c.png").write_bytes(b"")
    words = ("--weights", weights, "--data", tmp_path)
    ran = run("val", *words)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"error: 2 fatal issues in split 'val' of {tmp_path} (--skip-bad leaves them out):",
        f"  {tmp_path}/val/green/c.png: is empty, expected an image",
        f"  {tmp_path}/val/red/b.png: is not an image that OpenCV can decode",
    ]
    ran = run("val", *words, "--skip-bad")
    assert ran.code == 0
    assert "images dropped (--skip-bad): 2" in ran.out.splitlines()
    assert "accuracy on 1 images" in ran.out.splitlines()


def test_labels_of_the_other_task(
    fails: Callable[..., str],
    weights: Path,
    cfg: Path,
    tiny_cfg: Path,
    tiny_data: Path,
    finder: Path,
    folder: Path,
    tmp_path: Path,
):
    boxes = "has boxes, the network needs one class for each image"
    classes = "has one class for each image, the network needs boxes"
    assert fails("val", "--weights", weights, "--data", tiny_data) == f"split 'val' {boxes}"
    assert fails("val", "--weights", finder, "--data", folder) == f"split 'val' {classes}"
    project = ("--project", tmp_path / "runs")
    words = ("--cfg", cfg, "--data", tiny_data, *project)
    assert fails("train", *words) == f"split 'train' {boxes}"
    words = ("--cfg", tiny_cfg, "--data", folder, *project)
    assert fails("train", *words) == f"split 'train' {classes}"
    assert not (tmp_path / "runs").exists()
    assert fails("val", "--weights", weights, "--data", folder, "--metric", "voc07") == (
        "--metric voc07 is not a metric of task 'classify'; expected accuracy"
    )


def test_resume(run: Run, cfg: Path, folder: Path, tmp_path: Path):
    from detector.engine.setup import prepare

    trainer = prepare(
        train_settings(
            cfg=str(cfg), data=str(folder), project=tmp_path, epochs=2, batch=6, device="cpu"
        )
    )
    trainer.settings = trainer.settings.model_copy(update={"epochs": 1})
    trainer.fit()
    ran = run("train", "--resume", "last", "--project", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.metrics["last"]["epoch"] == 2


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision"):
    sys.modules[name] = None  # importing it raises ImportError
from detector.cli import run_tool
sys.exit(run_tool("detect", sys.argv[1:]))
"""


def test_onnx_without_torch(run: Run, weights: Path, folder: Path, tmp_path: Path):
    """The classes that torch finds."""
    path = tmp_path / "a.onnx"
    run("export", "--weights", weights, "--format", "onnx", "--output", path)
    found = []
    for name, file in (("torch", weights), ("no_torch", path)):
        words = ["--weights", file, "--source", folder / "val" / "red", "--jsonl", "--no-draw"]
        words += ["--output", tmp_path / name]
        if name == "torch":
            assert run("detect", *words).code == 0
        else:
            command = [sys.executable, "-c", WITHOUT_TORCH, *words]
            done = subprocess.run(
                [str(part) for part in command], cwd=ROOT, capture_output=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, b"")
        lines = (tmp_path / name / "detections.jsonl").read_text().splitlines()
        found.append([json.loads(line)["class_names"] for line in lines])
    assert found[0] == found[1] and len(found[0]) == 6


def test_int8_keeps_accuracy(run: Run, weights: Path, folder: Path, tmp_path: Path):
    """Every class is in the calibration images; top-1 before and after, with intervals."""
    words = ("--weights", weights, "--precision", "int8", "--output", tmp_path / "int8")
    ran = run("export", *words, "--calibrate", folder, "--data", folder, "--calibration-images", 4)
    certificate = ran.metrics["certificate"]
    measured = certificate["measured"]
    assert measured["after"]["top1"] >= measured["before"]["top1"] - 0.005
    assert set(measured["intervals"]) == {"before", "after", "change"}
    calibration = certificate["quantisation"]["calibration"]
    assert (calibration["images"], calibration["classes"]) == (4, 2)
    words = ("--weights", tmp_path / "int8.onnx", "--certificate", "--data", folder)
    assert "top1 of the trained network: " in run("val", *words).out
