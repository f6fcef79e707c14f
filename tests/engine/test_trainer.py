"""Training end to end on a tiny set: it learns, it is repeatable, it leaves its files."""

import csv
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from detector.cli import run_tool
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.model.detector import build
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load, read_metadata, save_weights


def settings(cfg: Path | None, data: Path, project: Path, **values: object) -> TrainSettings:
    defaults = {
        "cfg": cfg and str(cfg),
        "data": str(data),
        "project": project,
        "epochs": 2,
        "batch": 4,
        "nominal_batch": 4,
        "device": "cpu",
        "mosaic": 0.0,
        "warmup_epochs": 1,
    }
    return train_settings(**(defaults | values))


def test_it_learns(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    trainer = prepare(
        settings(
            tiny_cfg,
            tiny_data,
            tmp_path,
            epochs=60,
            learning_rate=0.02,
            objectness_gain=20.0,
            class_gain=20.0,
            ema_warmup=10.0,
            val_interval=20,
            fliplr=0.0,
            scale=0.0,
            translate=0.0,
        )
    )
    progress = trainer.fit()
    first, last = progress.history[0], progress.history[-1]
    names = ("loss_box", "loss_objectness", "loss_class")
    assert sum(last[n] for n in names) < 0.3 * sum(first[n] for n in names)
    assert last["AP50"] > 0.5
    assert progress.best == max(r["AP"] for r in progress.history if "AP" in r)


def test_files_of_a_run(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    metrics = tmp_path / "train.json"
    code = run_tool(
        "train",
        [
            *("--cfg", str(tiny_cfg), "--data", str(tiny_data), "--project", str(tmp_path)),
            *("--epochs", "2", "--batch", "4", "--name", "run", "--json", str(metrics)),
        ],
    )
    assert code == 0
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "best.safetensors",
        "confusion.png",
        "last.safetensors",
        "last.state.pt",
        "precision_recall.png",
        "previous.state.pt",
        "provenance.json",
        "results.csv",
        "results.png",
        "settings.yaml",
        "train_1.jpg",
        "train_2.jpg",
        "val_best.jpg",
    ]
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    written = json.loads(metrics.read_text())
    assert written["last"]["epoch"] == 2
    assert written["best"]["AP"] == pytest.approx(max(float(row["AP"]) for row in rows), abs=1e-6)
    assert written["seconds"] > 0
    assert load(run / "best.safetensors").names == ("red", "green")
    kept = read_metadata(run / "best.safetensors").training
    assert kept["settings"]["epochs"] == 2
    written = json.loads((run / "provenance.json").read_text())
    assert {name: kept[name] for name in written} == written
    assert kept["data"]["train"].keys() == {"class names", "image files", "labels"}


def test_the_saved_best_measures_what_was_logged(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    trainer = prepare(settings(tiny_cfg, tiny_data, tmp_path, epochs=3, learning_rate=0.05))
    progress = trainer.fit()
    metrics = tmp_path / "val.json"
    words = ["--weights", str(trainer.run.best), "--data", str(tiny_data), "--json", str(metrics)]
    assert run_tool("val", words) == 0
    assert json.loads(metrics.read_text())["AP"] == pytest.approx(progress.best, abs=1e-6)


def test_the_same_seed_gives_the_same_weights(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    states = []
    for name in ("a", "b"):
        trainer = prepare(settings(tiny_cfg, tiny_data, tmp_path, name=name, mosaic=0.5))
        trainer.fit()
        states.append(load(trainer.run.last).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    "values",
    [
        {"assigner": "simota", "box_loss": "siou", "class_loss": "qfl"},
        {"assigner": "aligned", "box_loss": "giou", "objectness_loss": "qfl"},
        {"box_loss": "diou", "class_loss": "focal", "balance_classes": 1.0},
        {"mosaic": 0.5, "mixup": 0.5, "copy_paste": 0.5, "multi_scale": 0.5, "close_mixing": 1},
    ],
)
def test_options_train(tiny_cfg: Path, tiny_data: Path, tmp_path: Path, values: dict):
    """The losses are finite, the first batch's gradient reaches every parameter."""
    trainer = prepare(settings(tiny_cfg, tiny_data, tmp_path, **values))
    batch = next(iter(trainer.loader))
    trainer.accumulation(trainer.scaled([batch]), [len(batch)])
    parameters = trainer.state.raw_model.parameters()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
    trainer.state.optimizer.zero_grad()
    progress = trainer.fit()
    assert all(math.isfinite(value) for record in progress.history for value in record.values())


def test_a_changed_setting_does_not_go_with_resume(tiny_cfg, tiny_data, tmp_path):
    trainer = prepare(settings(tiny_cfg, tiny_data, tmp_path, name="run", epochs=1))
    trainer.fit()
    with pytest.raises(DetectorError, match=r"--learning-rate 0.5 does not go with --resume"):
        prepare(train_settings(resume=str(tmp_path / "run"), learning_rate=0.5))


def test_nothing_to_resume(tmp_path: Path):
    with pytest.raises(DetectorError, match="holds no run to resume"):
        prepare(train_settings(resume="last", project=tmp_path))


def test_a_taken_name_is_refused(tiny_cfg, tiny_data, tmp_path):
    prepare(settings(tiny_cfg, tiny_data, tmp_path, name="run")).save()
    with pytest.raises(DetectorError, match=r"holds a run already; choose another --name"):
        prepare(settings(tiny_cfg, tiny_data, tmp_path, name="run"))


def test_a_loss_that_is_not_finite_stops_the_run(tiny_cfg, tiny_data, tmp_path):
    trainer = prepare(settings(tiny_cfg, tiny_data, tmp_path))
    with torch.no_grad():
        trainer.state.raw_model.head.m[0].weight[0] = float("nan")
    with pytest.raises(DetectorError, match=r"^the loss is not finite: loss_box nan, .* epoch 1;"):
        trainer.fit()
    assert not trainer.run.state.exists()


def test_an_input_size_that_the_strides_do_not_divide(tiny_cfg, tiny_data, tmp_path):
    with pytest.raises(DetectorError, match=r"imgsz 70 is not .* stride 16; the nearest is 64"):
        prepare(settings(tiny_cfg, tiny_data, tmp_path, imgsz=70))


def test_neither_model_file_nor_weights(tiny_data: Path):
    with pytest.raises(DetectorError, match="nothing to train: give --cfg FILE or --weights FILE"):
        prepare(train_settings(data=str(tiny_data)))


def test_start_weights_with_other_classes(tiny_cfg, tiny_data, tmp_path, caplog):
    caplog.set_level("INFO", "detector")
    model = build(tiny_cfg, classes=5)
    save_weights(tmp_path / "start.safetensors", model)
    trainer = prepare(settings(None, tiny_data, tmp_path, weights=tmp_path / "start.safetensors"))
    assert trainer.state.raw_model.names == ("red", "green")
    taken = trainer.state.raw_model.state_dict()["rows.0.conv.weight"]
    assert torch.equal(taken, model.state_dict()["rows.0.conv.weight"])
    # 5 → 2 classes: the weight and the bias of the head's two levels do not fit
    total = len(model.state_dict())
    assert f"start weights: {total - 4} of {total} tensors loaded" in caplog.text


def test_another_library_measures_each_epoch(tiny_cfg, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path, "device": "cpu"}
    with pytest.raises(DetectorError, match="faster_coco_eval is not installed; run: pip install"):
        prepare(train_settings(**where, evaluator="faster-coco-eval"))
    monkeypatch.undo()
    pytest.importorskip("faster_coco_eval", reason="needs the extra faster")
    trainer = prepare(train_settings(**where, evaluator="faster-coco-eval"))
    assert trainer.evaluator.library == "faster-coco-eval"
    assert trainer.validate().title == "COCO AP (faster-coco-eval)"
