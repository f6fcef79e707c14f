"""Epochs that fit into a time: the arithmetic, and a trial that changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.engine import time_budget
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.engine.time_budget import Pace
from detector.engine.trainer import Trainer
from detector.utils.errors import DetectorError
from tests.engine.conftest import FEW, digest

TIMES = st.floats(0.01, 100)


def test_by_hand():
    pace = Pace(epoch=10, validation=5)
    # Every epoch validated: 15 s each. Every fourth: 7 epochs take 70 s and 2 validations, 80 s.
    assert (pace.of(6, 1), pace.epochs_within(95, 1)) == (90, 6)
    assert (pace.of(7, 4), pace.epochs_within(80, 4), pace.epochs_within(79.9, 4)) == (80, 7, 6)
    assert pace.epochs_within(-3, 1) == pace.epochs_within(14, 1) == 1


@given(TIMES, TIMES, st.floats(1, 1e5), st.integers(1, 20))
def test_one_epoch_more_would_be_too_long(epoch, validation, seconds, val_interval):
    pace = Pace(epoch, validation)
    epochs = pace.epochs_within(seconds, val_interval)
    assert epochs == 1 or pace.of(epochs, val_interval) <= seconds
    assert pace.of(epochs + 1, val_interval) > seconds * (1 - 1e-9) - math.ulp(seconds)


@pytest.fixture
def timed(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, no_plot: None
) -> Callable[[float], Trainer]:
    """A function that prepares a run of so many minutes."""
    few = {name: value for name, value in FEW.items() if name != "epochs"}
    few |= {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path, "name": "timed"}
    return lambda minutes: prepare(train_settings(**few, minutes=minutes))


def test_the_trial_changes_nothing(
    start: Callable[..., Trainer],
    timed: Callable[[float], Trainer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """The run is the one that --epochs gives, to the last bit."""
    expected = start("whole", epochs=3)
    expected.fit()
    original = time_budget.measure_pace
    monkeypatch.setattr(
        time_budget, "measure_pace", lambda *asked: (original(*asked), Pace(18, 1))[1]
    )
    with caplog.at_level("INFO", "detector"):
        found = timed(1.2)  # 72 s: three epochs with one validation take 55 s, four with two 74 s
    (line,) = [line for line in caplog.messages if "fit into" in line]
    assert line.startswith("3 epochs fit into 1.2 minutes: one takes 18.0 s, a validation 1.0 s, ")
    assert "epochs: 3\n" in found.run.settings.read_text()
    found.fit()
    assert digest(found) == digest(expected)


def test_a_time_that_is_too_short(
    timed: Callable[[float], Trainer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(time_budget, "measure_pace", lambda *asked: Pace(100, 10))
    with caplog.at_level("INFO", "detector"):
        assert timed(1).settings.epochs == 1
    (line,) = [line for line in caplog.messages if line.startswith("one epoch is trained")]
    assert line.startswith("one epoch is trained, which takes about 110 s with its validation: mo")


def test_both_lengths(tiny_cfg: Path, tiny_data: Path):
    with pytest.raises(DetectorError) as caught:
        prepare(train_settings(cfg=str(tiny_cfg), data=str(tiny_data), minutes=1, epochs=3))
    assert str(caught.value) == "--minutes and --epochs: expected one of both"
