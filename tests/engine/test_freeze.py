"""Frozen rows stay as they are, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detector.engine.head_settings import train_settings
from detector.engine.optim import freeze, hold_frozen
from detector.engine.setup import prepare
from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load, save_weights


def test_frozen_rows_are_in_evaluation_mode(tiny_cfg: Path) -> None:
    model = build(tiny_cfg)
    freeze(model, 2)
    hold_frozen(model.train(), 2)
    for number, row in enumerate(model.rows):
        assert all(p.requires_grad == (number >= 2) for p in row.parameters())
        assert all(module.training == (number >= 2) for module in row.modules())


def test_nothing_is_frozen_by_default(tiny_cfg: Path) -> None:
    """A row without parameters neither: somebody's dropout."""
    model = build(tiny_cfg)
    model.rows[1] = torch.nn.Dropout2d()
    freeze(model, 0)
    hold_frozen(model.train(), 0)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_training_changes_the_other_rows_only(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """Weights and batch-norm statistics of network and average, after two epochs and a resume."""
    start = build(tiny_cfg)
    for module in start.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    save_weights(tmp_path / "start.safetensors", start)
    settings = train_settings(
        cfg=str(tiny_cfg),
        data=str(tiny_data),
        weights=tmp_path / "start.safetensors",
        project=tmp_path,
        name="run",
        epochs=2,
        batch=4,
        mosaic=0.0,
        device="cpu",
        freeze=2,
    )
    trainer = prepare(settings)
    trainer.fit()
    state = trainer.state
    resumed = prepare(train_settings(resume=str(tmp_path / "run")))
    assert not any(p.requires_grad for p in resumed.state.raw_model.rows[:2].parameters())
    before = load(tmp_path / "start.safetensors").state_dict()
    for after in (state.raw_model.state_dict(), state.averaged_model.state_dict()):
        for name, value in after.items():
            frozen = name.startswith(("rows.0.", "rows.1."))
            same = torch.equal(value, before[name])
            assert same == (frozen or name.endswith("anchors_wh")), name
    assert len(state.optimizer.param_groups[0]["params"]) < len(list(start.parameters())) / 2


def test_a_head_is_left_to_train(tiny_cfg: Path, tiny_data: Path, tmp_path: Path) -> None:
    message = "--freeze 5: expected at most 4, the network has 5 rows and the last one is its head"
    with pytest.raises(DetectorError, match=f"^{message}$"):
        freeze(build(tiny_cfg), 5)
    runs = tmp_path / "runs"
    with pytest.raises(DetectorError, match=f"^{message}$"):
        prepare(train_settings(cfg=str(tiny_cfg), data=str(tiny_data), project=runs, freeze=5))
    assert not runs.exists()
