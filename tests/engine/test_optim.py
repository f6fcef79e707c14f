"""Groups, schedule and averages against their formulas."""

import copy
import math

import pytest
import torch
from torch import nn

from detector.engine.optim import (
    Schedule,
    make_average,
    make_optimizer,
    moving_average,
    set_learning_rate,
)
from detector.model.detector import build
from detector.settings.train import OptimizerSettings


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_only_convolution_weights_decay(kind: str):
    model = network()
    optimizer = make_optimizer(model, OptimizerSettings(optimizer=kind, weight_decay=0.01))
    decayed, others = optimizer.param_groups
    assert [p.shape for p in decayed["params"]] == [torch.Size([4, 3, 3, 3])]
    assert len(others["params"]) == 3
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)


def test_learnt_vectors_do_not_decay():
    """YOLOv7's implicit ones have an axis for each of a map's."""
    model = build("yolov7_tiny", 2)
    decayed, others = make_optimizer(model, OptimizerSettings()).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)].split(".")[-1] for p in decayed["params"]} == {"weight"}
    assert all(p.ndim == 4 for p in decayed["params"])
    found = {names[id(p)].split(".")[-1] for p in others["params"]}
    assert found == {"weight", "bias", "added", "factor"}
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_warm_up_then_cosine():
    settings = OptimizerSettings(learning_rate=0.1, final_fraction=0.01, warmup_epochs=2)
    schedule = Schedule(settings, epochs=20, steps_per_epoch=5)
    rates = [schedule(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1 * 1e-3)
    # 2 epochs of 5 steps: half-way, step 5, is (0.001 + 1) / 2 of the rate
    assert rates[5] == pytest.approx(0.1 * 0.5005)
    assert rates[10] == pytest.approx(0.1)
    # half of the 90 steps that follow: the middle between the rate and its floor
    assert rates[55] == pytest.approx((0.1 + 0.001) / 2)
    assert rates[100] == pytest.approx(0.001)
    assert max(rates) == pytest.approx(0.1)


def test_a_training_shorter_than_its_warm_up_still_ends():
    schedule = Schedule(OptimizerSettings(warmup_epochs=3), epochs=1, steps_per_epoch=4)
    # 2 steps of warm-up at the most, then down in 2
    assert schedule(2) == 0.02
    assert schedule(4) == pytest.approx(0.02 * 0.01)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # 4 of warm-up, then 8 that fall from 1 to 0.2; half-way, step 8: 0.6, but cosine's quarter,
    # step 6: 0.2 + 0.8 · (1 + cos 45°) / 2
    [
        ("linear", {4: 1.0, 6: 0.8, 8: 0.6, 12: 0.2, 13: 0.2}),
        ("cosine", {4: 1.0, 6: 0.2 + 0.4 * (1 + math.sqrt(0.5)), 8: 0.6, 12: 0.2, 13: 0.2}),
        ("constant", {4: 1.0, 6: 1.0, 8: 1.0, 12: 1.0, 13: 1.0}),
    ],
)
def test_schedules(kind: str, expected: dict[int, float]):
    settings = OptimizerSettings(
        learning_rate=1.0, schedule=kind, final_fraction=0.2, warmup_epochs=1
    )
    schedule = Schedule(settings, epochs=3, steps_per_epoch=4)
    assert schedule(0) == 1e-3
    assert schedule(2) == pytest.approx((1e-3 + 1) / 2)
    assert {step: schedule(step) for step in expected} == pytest.approx(expected)


def test_the_learning_rate_of_all_groups():
    optimizer = make_optimizer(network(), OptimizerSettings())
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_average_follows_its_formula():
    # step 3, warm-up 2: d = 0.9 · (1 − e^−1.5) = 0.69918; 1 + (1 − d) · (3 − 1)
    averaged, current = [torch.tensor([1.0])], [torch.tensor([3.0])]
    moving_average(0.9, 2.0)(averaged, current, torch.tensor(3))
    decay = 0.9 * (1 - math.exp(-1.5))
    assert float(averaged[0]) == pytest.approx(1 + (1 - decay) * 2)
    assert float(current[0]) == 3.0


def test_counters_are_copied():
    averaged, current = [torch.tensor([1])], [torch.tensor([5])]
    moving_average(0.9, 2.0)(averaged, current, 3)
    assert int(averaged[0]) == 5


def test_average_covers_batch_norm_statistics_and_leaves_the_model():
    model = network().train()
    average = make_average(model, OptimizerSettings())
    before = copy.deepcopy(model.state_dict())
    average.update_parameters(model)
    model(torch.rand(2, 3, 8, 8) + 5)
    average.update_parameters(model)
    running = average.module[1].running_mean
    assert not torch.equal(running, before["1.running_mean"])
    assert torch.equal(model.state_dict()["0.weight"], before["0.weight"])
    assert average.module[1].running_mean.dtype == torch.float32
