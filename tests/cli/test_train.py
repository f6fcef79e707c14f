"""``train``: the tool around the trainer. What training does is tested in tests/engine."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.weights.checkpoint import load

Run = Callable[..., Any]
FEW = ("--epochs", 2, "--batch", 4, "--device", "cpu", "--mosaic", 0)


def test_a_run(run: Run, tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    words = ("--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path, *FEW)
    ran = run("train", *words, "--imgsz", 96, "--learning-rate", 0.05)
    assert ran.code == 0
    folder = tmp_path / "1"
    metrics = ran.metrics
    assert metrics["run"] == str(folder)
    assert metrics["weights"] == str(folder / "best.safetensors")
    assert metrics["last"]["epoch"] == 2
    assert metrics["best"]["epoch"] in (1, 2)
    assert metrics["best"]["AP"] >= metrics["last"]["AP"]
    assert 0 < metrics["last"]["seconds"] < metrics["seconds"]
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert metrics["last"]["loss_box"] == pytest.approx(float(rows[-1]["loss_box"]))
    assert "5,060 parameters, 2 classes, 96×96 px, 2 epochs, batch 4, sgd" in ran.out
    assert f"next: detector detect --weights {folder / 'best.safetensors'}" in ran.out
    model = load(folder / "best.safetensors")
    assert (model.names, model.preprocess.size_hw) == (("red", "green"), (96, 96))
    again = run("train", *words)
    assert again.metrics["run"] == str(tmp_path / "2")


def test_resume(run: Run, fails: Run, tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    where = ("--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path, "--name", "run")
    assert run("train", *where, *FEW).code == 0
    ran = run("train", "--resume", tmp_path / "run")
    assert (ran.code, ran.metrics["last"]["epoch"]) == (0, 2)  # there was nothing left to do
    assert "resumed at epoch 2 of 2" in ran.out
    assert fails("train", "--resume", tmp_path / "run", "--epochs", 1) == (
        "--epochs 1 does not go with --resume: the run was started with 2"
    )
    assert fails("train", "--resume", tmp_path / "runn") == (
        f"{tmp_path / 'runn'}: has no checkpoint to resume from (last.state.pt); start it again"
    )
    assert fails("train", *where) == (
        f"{tmp_path / 'run'}: holds a run already; choose another --name, or resume it: "
        f"--resume {tmp_path / 'run'}"
    )


def test_weights_of_another_number_of_classes(run: Run, finder: Path, tiny_data: Path, tmp_path):
    words = ("--weights", finder, "--data", tiny_data, "--project", tmp_path, *FEW)
    ran = run("train", *words, "--epochs", 1)
    assert ran.code == 0
    assert "start weights: " in ran.out


def test_settings_that_are_chosen(
    run: Run, fails: Run, finder: Path, tiny_data: Path, tmp_path: Path
):
    where = ("--data", tiny_data, "--project", tmp_path, "--device", "cpu", "--no-pictures")
    ran = run("train", "--weights", finder, *where, "--epochs", 1)
    assert ran.code == 0
    rows = [" ".join(line.split()) for line in ran.out.splitlines()]
    at = rows.index("preset auto: train/finetune, trained weights, 8 images, fewer than 10000")
    assert rows[at + 1] == "setting value why"
    assert {"epochs 1 given", "mosaic 0.6 finetune.yaml"} <= set(rows)
    preset = tmp_path / "1" / "preset.yaml"
    assert f"preset auto: the same training again: --preset {preset}" in rows
    again = run("train", "--preset", preset, "--project", tmp_path, "--device", "cpu")
    assert again.metrics["last"].items() ^ ran.metrics["last"].items() <= {
        ("seconds", one.metrics["last"]["seconds"]) for one in (ran, again)
    }
    assert fails("train", "--weights", finder, *where, "--preset", "autoo") == (
        "autoo: no such file; did you mean 'auto'?"
    )


def test_what_cannot_be_trained(
    fails: Run, finder: Path, finder_onnx: Path, tiny_cfg: Path, tiny_data: Path, tmp_path: Path
):
    from detector.model.deploy import deploy
    from detector.weights.checkpoint import save_weights

    where = ("--data", tiny_data, "--project", tmp_path / "runs", *FEW)
    assert fails("train", *where) == "nothing to train: give --cfg FILE or --weights FILE"
    deployed = tmp_path / "deployed.safetensors"
    save_weights(deployed, deploy(load(finder))[0])
    assert fails("train", "--weights", deployed, *where) == (
        f"{deployed}: is deployed: its branches and batch norms are fused and cannot be trained; "
        "use the checkpoint that it was deployed from"
    )
    assert fails("train", "--weights", finder_onnx, *where).startswith(f"{finder_onnx}: ")
    notes = tmp_path / "notes.txt"
    notes.write_text("not weights")
    assert fails("train", "--cfg", tiny_cfg, "--weights", notes, *where).startswith(f"{notes}: ")
    assert fails("train", "--cfg", tiny_cfg, *where, "--imgsz", 70) == (
        "imgsz 70 is not a multiple of the network's stride 16; the nearest is 64"
    )
    assert fails("train", "--cfg", tiny_cfg, *where, "--variant", "xl").startswith(f"{tiny_cfg}:")
    assert not (tmp_path / "runs").exists()


def test_training_for_int8(run: Run, finder: Path, tiny_data: Path, tmp_path: Path):
    words = ("--data", tiny_data, "--project", tmp_path, *FEW, "--learning-rate", 1e-9)
    ran = run("train", "--qat", "--weights", finder, *words, "--name", "int8")
    assert ran.code == 0
    assert "--qat: 4 blocks fused" in ran.out
    best = tmp_path / "int8" / "best.safetensors"
    model = load(best)
    assert model.deployed
    assert not model.rounds
    # Steps are too small to learn: AP is that of the finder, 0.0068, but for the rounding.
    assert ran.metrics["best"]["AP"] == pytest.approx(0.0068, abs=3e-4)
    again = run("train", "--qat", "--weights", best, *words, "--name", "more")
    assert again.code == 0
    assert "blocks fused" not in again.out
    resumed = run("train", "--resume", tmp_path / "int8", "--epochs", 3)
    assert (resumed.code, resumed.metrics["last"]["epoch"]) == (0, 3)
    assert load(tmp_path / "int8" / "last.safetensors").deployed


def test_training_for_int8_with_one_scale_a_layer(
    run: Run, fails: Run, finder: Path, tiny_data: Path, tmp_path: Path
):
    words = ("--weights", finder, "--per-tensor", "--data", tiny_data, "--project", tmp_path, *FEW)
    assert run("train", "--qat", *words).code == 0
    assert fails("train", *words) == "--per-tensor: has no effect without qat, found True"


def test_what_training_for_int8_needs(
    fails: Run, finder: Path, tiny_cfg: Path, tiny_data: Path, shared: Path, tmp_path: Path
):
    where = ("--qat", "--data", tiny_data, "--project", tmp_path / "runs", *FEW)
    alone = "--qat goes on training the network of --weights"
    assert fails("train", "--cfg", tiny_cfg, *where) == f"{alone}; give --weights, without --cfg"
    assert fails("train", "--cfg", tiny_cfg, "--weights", finder, *where) == (
        f"{alone}; give --weights, without --cfg"
    )
    assert fails("train", "--weights", finder, "--backbone-weights", finder, *where) == (
        f"{alone}, backbone included"
    )
    other = shared / "weights" / "yolox_nano_coco.pth"
    assert fails("train", "--weights", other, *where) == (
        f"{other}: --qat: has the classes person, bicycle, car, … (80), the data red, green; train "
        "it on them first, without --qat"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("flag", ["--weights", "--backbone-weights"])
def test_trained_weights_without_data(
    fails: Run, finder: Path, tiny_cfg: Path, tmp_path: Path, flag
):
    words = ("--cfg", tiny_cfg, flag, finder, "--project", tmp_path / "runs")
    assert fails("train", *words) == (
        "--data is missing, the images to train on: give --data FOLDER or --data FILE.yaml; the "
        "built-in drawn images are --data datasets/shapes.yaml"
    )
    assert not (tmp_path / "runs").exists()


def test_data_that_are_none(fails: Run, tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    words = ("--cfg", tiny_cfg, "--project", tmp_path / "runs", *FEW, "--data")
    assert fails("train", *words, tmp_path / "x.yaml") == f"{tmp_path / 'x.yaml'}: no such file"
    assert fails("train", *words, tiny_data, "--val-split", "valid") == (
        f"{tiny_data}: no split 'valid'; did you mean 'val'?"
    )
    assert fails("train", *words, tiny_data, "--val-split", "checks") == (
        f"{tiny_data}: no split 'checks'; it has train, val, for example --val-split val"
    )
    assert fails("train", *words, tiny_data, "--train-split", "some") == (
        f"{tiny_data}: no split 'some'; it has train, val, for example --train-split val"
    )
    assert not (tmp_path / "runs").exists()


def test_presets(run: Run, fails: Run, tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    where = ("--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path / "runs", *FEW)
    preset = tmp_path / "preset.yaml"
    preset.write_text("learning_rate: 0.125\nepochs: 50\n")
    ran = run("train", *where, "--preset", preset, "--epochs", 1)
    assert f"preset {preset}: learning_rate 0.125, epochs 50" in ran.out
    assert "1 epochs, batch 4, sgd learning rate 0.125" in ran.out
    preset.write_text("learning_rate: 0.125\nepoch: 50\n")
    assert fails("train", *where, "--preset", preset) == (
        f"{preset}:2: unknown key 'epoch'; did you mean 'epochs'?"
    )


def test_the_layout_of_a_folder_is_told_once(
    run: Run, tiny_cfg: Path, tiny_data: Path, tmp_path: Path
):
    data = tmp_path / "set"
    for name in ("images", "labels"):
        shutil.copytree(tiny_data.parent / name, data / name)
    ran = run("train", "--cfg", tiny_cfg, "--data", data, "--project", tmp_path / "runs", *FEW)
    printed = ran.out + ran.err
    assert printed.count(f"{data}: val: YOLO txt") == 1
    assert printed.count("split 'train' of ") == printed.count("split 'val' of ") == 1
