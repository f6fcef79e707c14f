"""Where settings come from: defaults < quick start < preset < flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.engine.recipe import resolve, train_settings
from detector.settings import TrainSettings
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files

PRESETS = [name for name in packaged_files("cfg") if name.startswith("train/")]


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets(name: str) -> None:
    settings, notes = resolve(train_settings(cfg="yolov5n", data="bccd", preset=name))
    assert notes[-1].startswith(f"preset {name}: ")
    assert f"learning_rate {settings.learning_rate}, " in notes[-1]


def test_a_flag_wins_over_a_preset_and_that_over_the_quick_start() -> None:
    """The quick start of the drawn shapes has a rate of 0.03 and 32 epochs."""
    given = {"cfg": "yolov5n", "preset": "train/finetune"}
    settings, _ = resolve(train_settings(**given))
    assert (settings.learning_rate, settings.epochs) == (0.01, 32)
    settings, _ = resolve(train_settings(**given, learning_rate=0.5))
    assert (settings.learning_rate, settings.epochs) == (0.5, 32)


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


def test_no_such_preset() -> None:
    message = r"^scrach.yaml: no such file; did you mean 'train/scratch'\?$"
    with pytest.raises(DetectorError, match=message):
        resolve(train_settings(cfg="yolov5n", preset="scrach.yaml"))


def test_nothing_to_train() -> None:
    with pytest.raises(DetectorError, match="^nothing to train: give --cfg FILE or --weights FILE"):
        resolve(train_settings())
