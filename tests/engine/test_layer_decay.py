"""Learning rates by the depth of the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.engine.layer_decay import parameter_scales, row_depths
from detector.engine.optim import make_optimizer, set_learning_rate
from detector.model.detector import build
from detector.settings.train import OptimizerSettings
from detector.utils.errors import DetectorError
from tests.engine.conftest import digest

BRANCHES = """
nc: 2
anchors: [[12, 12], [32, 32]]
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, Concat, [1]]
  - [[5, 3], 1, Detect, [nc, anchors]]
"""


def test_depths_by_hand(tiny_cfg: Path, tmp_path: Path) -> None:
    assert row_depths(build(tiny_cfg)) == [1, 2, 3, 4, 5]
    (tmp_path / "branches.yaml").write_text(BRANCHES)
    # Upsample and Concat have no weights; the longest path to Concat passes the fourth Conv.
    assert row_depths(build(tmp_path / "branches.yaml")) == [1, 2, 3, 4, 4, 4, 5]


def test_scales_by_hand(tiny_cfg: Path) -> None:
    model = build(tiny_cfg)
    names = [name for name, _ in model.named_parameters()]
    scales = parameter_scales(model, names, 0.5)
    expected = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    assert all(scales[name] == expected[int(name.split(".")[1])] for name in names)
    assert set(parameter_scales(model, names, 1.0).values()) == {1.0}


def test_groups(tiny_cfg: Path) -> None:
    model = build(tiny_cfg)
    model.rows[0].requires_grad_(False)
    settings = OptimizerSettings(layer_decay=0.5, weight_decay=0.01)
    optimizer = make_optimizer(model, settings)
    set_learning_rate(optimizer, 0.8)
    found = [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups]
    # The head first; the first row is frozen.
    assert found == [(rate, d) for rate in (0.8, 0.4, 0.2, 0.1) for d in (0.01, 0.0)]
    assert optimizer.param_groups[0]["params"][0] is model.head.m[0].weight
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)


def test_the_learning_rate_of_the_run_is_the_head_s(start) -> None:
    trainer = start("run", layer_decay=0.5)
    step = trainer.state.schedule(0)
    assert trainer.state.learning_rate == step
    rates = [group["lr"] for group in trainer.state.optimizer.param_groups]
    assert min(rates) == pytest.approx(step / 16)


def test_resumed(start, resume) -> None:
    whole = start("whole", layer_decay=0.7, save_minutes=0)
    whole.fit()
    cut = start("cut", layer_decay=0.7)
    for _ in cut.train_epoch():
        pass
    cut.end_epoch()
    again = resume("cut")
    again.fit()
    assert digest(again) == digest(whole)


@pytest.mark.parametrize("value", [0, 1.1])
def test_bad_values(start, value: float) -> None:
    with pytest.raises(DetectorError, match="^layer_decay: "):
        start("run", layer_decay=value)
