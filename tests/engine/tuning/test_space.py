"""What a search may vary, and what is wrong with a space before anything starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.engine.head_settings import train_settings
from detector.engine.recipe import resolve
from detector.engine.tuning.space import Space, check_not_given, read_space
from detector.settings.train import TrainSettings
from detector.settings.tune import Range
from detector.utils.errors import DetectorError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def base(training: dict[str, Any]) -> TrainSettings:
    return resolve(train_settings(**training))[0]


@pytest.fixture
def read(base: TrainSettings, write_space: Callable[[str], str]) -> Callable[[str], Space]:
    return lambda text: read_space(write_space(text), base)


def test_a_space(read: Callable[[str], Space]):
    space = read(
        "learning_rate: {kind: log, low: 1e-3, high: 0.1}\n"
        "mosaic: {kind: float, low: 0, high: 1}\n"
        "warmup_epochs: {kind: int, low: 0, high: 3}\n"
        "imgsz: {kind: choice, values: [64, '64,96']}\n"
        "augment: {kind: choice, values: [true, false]}\n"
    )
    assert list(space) == ["learning_rate", "mosaic", "warmup_epochs", "imgsz", "augment"]
    assert space["learning_rate"] == Range(kind="log", low=0.001, high=0.1)
    assert space["imgsz"].values == (64, "64,96")
    assert space["augment"].values == (True, False)


@pytest.mark.parametrize("path", sorted((ROOT / "cfg" / "tune").glob("*.yaml")))
def test_packaged_spaces(path: Path, base: TrainSettings):
    assert read_space(str(path), base)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: expected settings with their ranges, such as learning_rate: {kind: log, …"),
        ("[a]", "1: expected settings with their ranges, such as learning_rate: {kind: log, …"),
        ("learning_rat: {}", "1: unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        ("lr0: {}", "1: unknown setting 'lr0': use learning_rate"),
        ("\nseed: {}", "2: seed: is the same in all trials; give it as a flag"),
        ("val_split: {}", "1: val_split: is the same in all trials; give it as a flag"),
        ("limit: {}", "1: limit: is the same in all trials; give it as a flag"),
        ("trials: {}", "1: trials: is the same in all trials; give it as a flag"),
        ("dfl_gain: {}", "1: dfl_gain is a setting of DFLHead and other heads, and"),
        ("mosaic: 1", "1: expected a mapping of settings, found int"),
        ("mosaic: {}", "1: key 'kind' is missing"),
        ("mosaic: {kind: floot}", "1: kind: expected 'float', 'int', 'log' or 'choice'"),
        ("mosaic: {kind: float, lo: 0}", "1: unknown key 'lo'; did you mean 'low'?"),
        ("mosaic: {kind: float, low: 0}", "1: float needs low and high"),
        ("mosaic: {kind: float, low: 1, high: 0}", "1: expected low below high, found 1 and 0"),
        ("mosaic: {kind: log, low: 0, high: 1}", "1: log needs a low above 0, found 0"),
        ("mosaic: {kind: int, low: 0.5, high: 1}", "1: int needs whole ends, found 0.5 and 1"),
        ("mosaic: {kind: float, values: [1, 2]}", "1: float has low and high, not values"),
        ("mosaic: {kind: choice, low: 1, values: [1, 2]}", "1: choice has values, not low"),
        ("mosaic: {kind: choice, values: [1]}", "1: expected two or more values, each once"),
        ("mosaic: {kind: choice, values: [1, 1]}", "1: expected two or more values, each once"),
        (
            "epochs: {kind: int, low: 1, high: 3}\nmosaic:\n  kind: float\n  low: 0\n  high: 1.5",
            "5: mosaic.high: expected at most 1, found 1.5",
        ),
        (
            "learning_rate: {kind: float, low: -1, high: 1}",
            "1: learning_rate.low: expected more than 0, found -1.0",
        ),
        (
            "optimizer: {kind: choice, values: [sgd, adam]}",
            "1: optimizer.values.1: expected 'sgd' or 'adamw', found 'adam'",
        ),
        (
            "nominal_batch: {kind: float, low: 1, high: 3}",
            "1: nominal_batch.kind: expected a whole number, found 1.76",
        ),
    ],
)
def test_what_is_refused(text: str, message: str, read: Callable[[str], Space]):
    with pytest.raises(DetectorError) as error:
        read(text)
    assert f"space.yaml:{message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_flag_and_a_range(training: dict[str, Any]):
    space = {"momentum": Range(kind="float", low=0.5, high=0.9)}
    check_not_given(space, train_settings(**training), "space.yaml")
    with pytest.raises(DetectorError) as error:
        check_not_given(space, train_settings(**training, momentum=0.9), "space.yaml")
    assert str(error.value) == (
        "--momentum: space.yaml searches momentum, too; expected one of both"
    )


def test_no_such_file(base: TrainSettings):
    with pytest.raises(DetectorError, match="finetun.yaml"):
        read_space("cfg/tune/finetun.yaml", base)
