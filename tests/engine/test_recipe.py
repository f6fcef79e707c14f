"""Where settings come from: defaults < quick start < preset < flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.engine.head_settings import train_settings
from detector.engine.recipe import resolve
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files

PRESETS = [name for name in packaged_files("cfg") if name.startswith("train/")]


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets(name: str) -> None:
    settings, notes = resolve(train_settings(cfg="yolov5n", data="bccd", preset=name))
    assert notes[-1].startswith(f"preset {name}: ")
    assert f"learning_rate {settings.learning_rate}, " in notes[-1]


def test_a_flag_wins_over_a_preset_and_that_over_the_quick_start() -> None:
    """The quick start of the drawn shapes has a rate of 0.03 and 48 epochs."""
    given = {"cfg": "yolov5n", "preset": "train/finetune"}
    settings, _ = resolve(train_settings(**given))
    assert (settings.learning_rate, settings.epochs) == (0.01, 48)
    settings, _ = resolve(train_settings(**given, learning_rate=0.5))
    assert (settings.learning_rate, settings.epochs) == (0.5, 48)


def test_data_and_model_of_a_preset(tmp_path: Path) -> None:
    """The drawn set's quick start is for that set alone."""
    preset = tmp_path / "a.yaml"
    preset.write_text("cfg: yolov5n\ndata: bccd\n")
    settings, notes = resolve(train_settings(preset=str(preset)))
    assert (settings.cfg, settings.data) == ("yolov5n", "bccd")
    assert settings.learning_rate == TrainSettings.model_fields["learning_rate"].default
    assert notes == [f"preset {preset}: data bccd, cfg yolov5n"]


@pytest.mark.parametrize("line", ["resume: last", "preset: b.yaml", "json: a.json", "debug: true"])
def test_flags_that_no_preset_has(tmp_path: Path, line: str) -> None:
    preset = tmp_path / "a.yaml"
    preset.write_text(f"cfg: yolov5n\n{line}\n")
    with pytest.raises(DetectorError) as caught:
        resolve(train_settings(preset=str(preset)))
    name = line.split(":", maxsplit=1)[0]
    assert str(caught.value) == f"{preset}:2: {name}: is a flag and not for a preset"


# The beginning of each line of YOLOv5's data/hyps/hyp.scratch-low.yaml, as its users have it.
YOLOV5_HYP = """\
# YOLOv5 hyperparameters
lr0: 0.01 # initial learning rate
lrf: 0.01
momentum: 0.937
weight_decay: 0.0005
warmup_epochs: 3.0
warmup_momentum: 0.8
warmup_bias_lr: 0.1
box: 0.05
cls: 0.5
cls_pw: 1.0
obj: 1.0
obj_pw: 1.0
iou_t: 0.20
anchor_t: 4.0
fl_gamma: 0.0
hsv_h: 0.015
hsv_s: 0.7
hsv_v: 0.4
degrees: 0.0
translate: 0.1
scale: 0.5
shear: 0.0
perspective: 0.0
flipud: 0.0
fliplr: 0.5
mosaic: 1.0
mixup: 0.0
copy_paste: 0.0
"""
YOLOV5_ANSWERS = {
    "lr0": "use learning_rate",
    "lrf": "use final_fraction",
    "warmup_momentum": "momentum is constant: --momentum",
    "warmup_bias_lr": "biases warm up like weights, from near 0 over --warmup-epochs",
    "box": "use box_gain",
    "cls": "use class_gain",
    "cls_pw": "positive and negative examples have equal weights; omit it",
    "obj": "use objectness_gain",
    "obj_pw": "positive and negative examples have equal weights; omit it",
    "iou_t": "no loss has it; omit it, and see --anchor-ratio and --assigner",
    "anchor_t": "use anchor_ratio",
    "fl_gamma": "focal loss is --class-loss focal and --objectness-loss focal",
    "perspective": "not built in; see --albumentations",
}


def test_hyperparameters_of_yolov5(tmp_path: Path) -> None:
    """Each of its keys is one of ours or gets a hint with its line, one after the other."""
    preset = tmp_path / "hyp.yaml"
    lines = YOLOV5_HYP.splitlines()
    answers = {}
    for _ in YOLOV5_ANSWERS:
        preset.write_text("\n".join(lines))
        with pytest.raises(DetectorError) as caught:
            resolve(TrainSettings(cfg="yolov5n", preset=str(preset)))
        assert caught.value.line is not None
        key = lines[caught.value.line - 1].partition(":")[0]
        prefix = f"{preset}:{caught.value.line}: unknown key {key!r}: "
        assert str(caught.value).startswith(prefix)
        answers[key] = str(caught.value).removeprefix(prefix)
        lines[caught.value.line - 1] = ""
    assert answers == YOLOV5_ANSWERS
    preset.write_text("\n".join(lines))
    assert resolve(TrainSettings(cfg="yolov5n", preset=str(preset)))[0].fliplr == 0.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("half: true", "unknown key 'half': use precision: fp16"),
        ("half: false", "unknown key 'half': use precision: fp16 if true"),
        ("noplots: true", "unknown key 'noplots': use pictures: false"),
        ("model: yolov5n.yaml", "unknown key 'model': use cfg"),
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
    ],
)
def test_unknown_keys_of_a_preset(tmp_path: Path, line: str, message: str) -> None:
    preset = tmp_path / "a.yaml"
    preset.write_text(f"epochs: 3\n{line}\n")
    with pytest.raises(DetectorError) as caught:
        resolve(TrainSettings(cfg="yolov5n", preset=str(preset)))
    assert str(caught.value) == f"{preset}:2: {message}"


def test_no_such_preset() -> None:
    message = r"^scrach.yaml: no such file; did you mean 'train/scratch'\?$"
    with pytest.raises(DetectorError, match=message):
        resolve(train_settings(cfg="yolov5n", preset="scrach.yaml"))


def test_nothing_to_train() -> None:
    with pytest.raises(DetectorError, match="^nothing to train: give --cfg FILE or --weights FILE"):
        resolve(train_settings())
