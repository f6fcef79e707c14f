"""A head of someone else's: registered with its task, it trains, measures, detects and deploys."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from detector import registry
from detector.cli import run_tool
from detector.data.loader import training_loader
from detector.engine import tasks
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.engine.tasks import Task, register_task, task_of, trainable_heads
from detector.evaluation.coco import CocoEvaluator
from detector.heads.yolo import Detect
from detector.losses import YoloLoss
from detector.model.deploy import deploy
from detector.model.detector import build
from detector.predict import Predictor
from detector.registry import register
from detector.settings.heads import HEAD_SETTINGS, AugmentSettings, YoloLossSettings
from detector.settings.train import TrainSettings
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load

MODEL = """
nc: 2
imgsz: 64
preprocess: {mode: stretch}
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
head:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, HEAD, [nc]]
"""


@pytest.fixture(autouse=True)
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(tasks, "_TASKS", dict(tasks._TASKS))


class PointHead(nn.Module):
    """One box a cell: logarithms of the distances to its four sides, and a logit for each class."""

    def __init__(self, nc: int, c_in: Sequence[int] = (), strides: Sequence[int] = ()) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in[0], 4 + nc, 1)
        self.stride = strides[0]

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.conv(features[0])

    def decode(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        height, width = maps.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centre = (torch.stack((x, y)) + 0.5).flatten(1).T * self.stride
        values = maps.flatten(2).transpose(1, 2)
        sides = values[..., :4].exp() * self.stride
        boxes = torch.cat((centre - sides[..., :2], centre + sides[..., 2:]), -1)
        return boxes, values[..., 4:].sigmoid()


class PointSettings(AugmentSettings):
    """A head of someone else's has flags of its own."""

    sides_gain: float = Field(0.05, description="weight of the distances' loss")


class PointLoss:
    """The cell that holds a truth's centre answers for it."""

    def __init__(self, head: PointHead, size_hw: tuple[int, int], settings: PointSettings) -> None:
        self.stride = head.stride
        self.gain = settings.sides_gain

    def __call__(self, maps: Tensor, targets: Targets) -> dict[str, Tensor]:
        left_top, right_bottom = targets.boxes_xyxy.split(2, 1)
        x, y = ((left_top + right_bottom) / 2 // self.stride).long().T
        centre = (torch.stack((x, y), 1) + 0.5) * self.stride
        sides = torch.cat((centre - left_top, right_bottom - centre), 1).clamp(min=1) / self.stride
        chosen = maps[targets.image_index, :, y, x]
        truth = torch.zeros_like(maps[:, 4:])
        truth[targets.image_index, targets.class_ids, y, x] = 1
        return {
            "loss_sides": self.gain * F.l1_loss(chosen[:, :4], sides.log()),
            "loss_class": F.binary_cross_entropy_with_logits(maps[:, 4:], truth),
        }


POINTS = Task(
    name="points",
    criterion=PointLoss,
    evaluator=CocoEvaluator,
    loader=training_loader,
    adds_up=True,
    settings=PointSettings,
)


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    """A model file that ends in the new head."""
    register(head=True)(PointHead)
    path = tmp_path / "points.yaml"
    path.write_text(MODEL.replace("HEAD", "PointHead"))
    return path


def settings(cfg: Path, data: Path, project: Path, **values: Any) -> TrainSettings:
    common = {"batch": 4, "nominal_batch": 4, "device": "cpu", "mosaic": 0.0, "epochs": 1}
    return train_settings(cfg=str(cfg), data=str(data), project=project, **(common | values))


def test_one_step(cfg: Path, tiny_data: Path, tmp_path: Path):
    register_task(PointHead, POINTS)
    trainer = prepare(settings(cfg, tiny_data, tmp_path))
    assert trainer.task is POINTS
    assert trainer.state.raw_model.preprocess.mode == "stretch"  # as its file says
    weights = dict(trainer.state.raw_model.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    losses = next(trainer.train_epoch()).losses
    assert losses.keys() == {"loss_sides", "loss_class"}
    moved = {name for name, weight in weights.items() if (weight != before[name]).any()}
    assert moved == before.keys()


def test_the_whole_way(cfg: Path, tiny_data: Path, tmp_path: Path, capsys):
    register_task(PointHead, POINTS)
    trainer = prepare(
        settings(
            cfg,
            tiny_data,
            tmp_path,
            epochs=30,
            learning_rate=0.02,
            warmup_epochs=1,
            ema_warmup=10.0,
            val_interval=30,
            sides_gain=1.0,
        )
    )
    history = trainer.fit().history
    names = ("loss_sides", "loss_class")
    assert sum(history[-1][n] for n in names) < 0.7 * sum(history[0][n] for n in names)

    weights, images = trainer.run.last, tiny_data.parent / "images" / "val"
    assert run_tool("val", ["--weights", str(weights), "--data", str(tiny_data)]) == 0
    model = load(weights)
    assert model.preprocess == trainer.state.raw_model.preprocess
    found = list(Predictor(weights)(images))
    assert len(found) == 8
    fused, report = deploy(model)
    assert report.fused_blocks == 3
    for one, other in zip(Predictor(fused)(images), found, strict=True):
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1e-2)


def test_a_head_without_a_task(cfg: Path, tiny_data: Path, tmp_path: Path, capsys):
    message = "head 'PointHead' has no task: call detector.register_task"
    with pytest.raises(DetectorError) as caught:
        task_of(type(build(cfg).head))
    assert str(caught.value) == message
    words = ["--cfg", str(cfg), "--data", str(tiny_data), "--project", str(tmp_path / "runs")]
    assert run_tool("train", words) == 2
    assert capsys.readouterr().err.endswith(f"error: {message}\n")
    assert not (tmp_path / "runs").exists()
    assert Predictor(build(cfg)).names  # prediction needs no task


def test_a_head_that_no_one_registered(tmp_path: Path):
    cfg = tmp_path / "model.yaml"
    cfg.write_text(MODEL.replace("HEAD", "Detekt"))
    with pytest.raises(DetectorError) as caught:
        build(cfg)
    expected = f"{cfg}:10: row 3: unknown module 'Detekt'; did you mean 'Detect'?"
    assert str(caught.value) == expected


def test_a_subclass_has_its_base_class_s_task(tmp_path: Path):
    class OurDetect(Detect):
        """The same, under another name."""

    register(head=True)(OurDetect)
    cfg = tmp_path / "model.yaml"
    cfg.write_text(MODEL.replace("HEAD", "OurDetect").replace("[nc]", "[nc, [[8, 8]]]"))
    model = build(cfg)
    assert task_of(type(model.head)).name == "detect"
    register_task(OurDetect, POINTS)
    assert task_of(type(model.head)) is POINTS


def test_the_task_of_detect(tiny_cfg: Path):
    model = build(tiny_cfg)
    task = task_of(type(model.head))
    assert task.name == "detect"
    assert task.evaluator is CocoEvaluator
    assert task.adds_up
    criterion = task.criterion(model.head, (64, 32), YoloLossSettings(objectness_gain=2.0))
    assert isinstance(criterion, YoloLoss)
    # The area scales it: 2 · (64 · 32 / 640²) · 3 / 2 levels = 2 · 0.005 · 1.5
    assert criterion.objectness_gain == pytest.approx(0.015)


def test_a_head_s_own_flags(cfg: Path, tiny_cfg: Path, tiny_data: Path, tmp_path: Path, capsys):
    """A head of someone else's package has flags; they are no other head's."""
    register_task(PointHead, POINTS)
    words = ["--data", str(tiny_data), "--project", str(tmp_path / "runs"), "--sides-gain", "0.5"]
    assert run_tool("train", ["--cfg", str(tiny_cfg), *words]) == 2
    message = "error: --sides-gain is a setting of PointHead, and this network's head is Detect; "
    assert capsys.readouterr().err.startswith(message)
    assert run_tool("train", ["--cfg", str(cfg), "--sides-gian", "1"]) == 2
    assert capsys.readouterr().err == (
        "error: unknown flag '--sides-gian'; did you mean '--sides-gain'?\n"
    )
    words += ["--epochs", "1", "--batch", "8", "--device", "cpu", "--no-pictures"]
    assert run_tool("train", ["--cfg", str(cfg), *words]) == 0
    assert "sides_gain: 0.5\n" in (tmp_path / "runs" / "1" / "settings.yaml").read_text()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run_tool("train", ["--cfg", str(cfg), "--help"])
    shown = capsys.readouterr().out
    assert "--sides-gain NUMBER" in shown
    assert "--box-gain" not in shown


def test_a_head_s_setting_may_not_hide_a_common_one():
    class Clash(AugmentSettings):
        epochs: int = 3

    message = "head 'PointHead' declares the setting 'epochs', which every training has"
    with pytest.raises(DetectorError, match=f"^{message}$"):
        register_task(PointHead, replace(POINTS, settings=Clash))


def test_settings_of_heads_are_known_before_torch_is_imported() -> None:
    """In the order of the tasks, since of a setting that several heads have the first counts."""
    known = [(name, task.settings) for name, task in trainable_heads().items()]
    assert [(name, kind) for name, kind in known if name in HEAD_SETTINGS] == list(
        HEAD_SETTINGS.items()
    )
