"""Numbers that are not finite: the run stops with the images' names, or leaves the step out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.engine.callbacks import Step
from detector.engine.trainer import MAX_SKIPPED_IN_A_ROW, Trainer
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load_training_state
from tests.engine.conftest import AfterStep, Listener, digest

Start = Callable[..., Trainer]


class SpoiltGradient(torch.autograd.Function):
    """The value itself, and a gradient that is none."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * math.nan


SPOILT: dict[str, Callable[[Tensor], Tensor]] = {
    "loss": lambda value: value + math.inf,
    "gradient": SpoiltGradient.apply,
}


def plant(trainer: Trainer, kind: str, calls: Callable[[int], bool]) -> None:
    """Spoil the box loss of some calls of the criterion, which are counted from 1."""
    criterion, count = trainer.accumulation.criterion, 0

    def spoilt(maps: Any, targets: Any) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        losses = criterion(maps, targets)
        if calls(count):
            losses["loss_box"] = SPOILT[kind](losses["loss_box"])
        return losses

    trainer.accumulation.criterion = spoilt


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("loss", "the loss is not finite: loss_box inf, loss_objectness 0."),
        ("gradient", "the gradient is not finite: its norm is nan"),
    ],
)
def test_it_stops_and_goes_on_from_before(start: Start, resume: Start, kind: str, problem: str):
    whole, cut = start("whole"), start("cut", mosaic=0.5)
    whole.fit()
    plant(cut, kind, lambda call: call == 5)
    with pytest.raises(DetectorError) as caught:
        cut.fit()
    line = str(caught.value)
    assert line.startswith(problem)
    assert "in epoch 2; a lower --learning-rate may help, --skip-nonfinite skips" in line
    assert f"resume with: detector train --resume {cut.run.folder}; images of the step: " in line
    cut.loader.batch_sampler.set_epoch(1)
    keys = cut.loader.batch_sampler.batches()[1]
    files = {str(path) for key in keys for path in cut.loader.dataset.sources(key)}
    assert set(line.rpartition("images of the step: ")[2].split(", ")) == files
    assert load_training_state(cut.run.state)["progress"]["step"] == 4
    again = resume("cut")
    again.fit()
    assert digest(again) == digest(whole)


def test_of_many_images_some_are_named(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("detector.engine.trainer.MAX_NAMED_IMAGES", 2)
    trainer = start("run", mosaic=0.0, nominal_batch=6)
    plant(trainer, "loss", lambda _: True)
    with pytest.raises(DetectorError, match=r"train/\d.png, \S+train/\d.png and 4 more$"):
        trainer.fit()


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_step_is_left_out(start: Start, kind: str):
    """Step 2 of 3 batches: weights, averages and statistics stay, the mean loss is of the rest."""
    trainer = start("run", epochs=1, skip_nonfinite=True)
    plant(trainer, kind, lambda call: call == 2)
    states, listener = [], Listener()
    keep = AfterStep(lambda: states.append(copy.deepcopy(weights(trainer))))
    trainer.callbacks += [keep, listener]
    trainer.fit()
    steps = [event for event in listener.events if isinstance(event, Step)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    name = "raw.rows.0.conv.weight"
    assert not torch.equal(states[1][name], states[2][name])
    assert [bool(step.losses) for step in steps] == [True, False, True]
    assert trainer.progress.skipped == 1
    mean = (steps[0].losses["loss_box"] + steps[2].losses["loss_box"]) / 2
    assert trainer.progress.history[0]["loss_box"] == pytest.approx(mean)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    raw = {f"raw.{k}": v for k, v in trainer.state.raw_model.state_dict().items()}
    return raw | {f"average.{k}": v for k, v in trainer.state.average.state_dict().items()}


def test_too_many_in_a_row(start: Start):
    trainer = start("run", epochs=10, skip_nonfinite=True)
    plant(trainer, "loss", lambda call: call not in (4, 5))
    message = f"^{MAX_SKIPPED_IN_A_ROW + 1} steps in a row are not finite, in epoch 6;"
    with pytest.raises(DetectorError, match=message):
        trainer.fit()
    assert trainer.progress.skipped == 3 + MAX_SKIPPED_IN_A_ROW + 1


def test_weights_that_are_spoilt_are_not_saved(start: Start):
    trainer = start("run")

    def overdo() -> None:
        trainer.state.optimizer.param_groups[0]["lr"] = math.inf

    trainer.callbacks.append(AfterStep(overdo, 4))
    with pytest.raises(DetectorError, match="^the step leaves weights that are not finite, in e"):
        trainer.fit()
    kept = load_training_state(trainer.run.state)
    assert kept["progress"]["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in kept["model"].values())
