"""Any backbone, any head: each pair trains, fuses, is exported, and is measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from detector.cli import run_tool
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.export.run import export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy
from detector.model.detector import Detector, build
from detector.model.model_file import read_model_file
from detector.weights.checkpoint import load, save_weights

HEADS = {
    "yolov5_neck": 64,
    "yolox_neck": 64,
    "dfl_neck": 64,
    "ssd300_neck": 300,
    "refinedet320_neck": 320,
}
"""Model file → side of the inputs here."""


GRID = [(cfg, variant) for cfg in HEADS for variant in read_model_file(cfg).keys.variants]
SMALLEST = ("yolov5_neck", "yolov5n")
LARGEST = [(cfg, "vgg-16-bn") for cfg in ("ssd300_neck", "refinedet320_neck")]


def test_the_grid_is_whole() -> None:
    backbones = ["yolov5n", "repvgg-A0", "vovnet-27-slim", "vgg-16-bn", "timm-resnet18"]
    for cfg in HEADS:
        assert list(read_model_file(cfg).keys.variants) == backbones


@pytest.mark.parametrize(
    ("cfg", "variant"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair in LARGEST)) for pair in GRID],
)
def test_one_step(cfg: str, variant: str, tiny_data: Path, tmp_path: Path) -> None:
    """Its loss is finite, and every parameter has a gradient; the backbone's are not zero."""
    trainer = prepare(
        train_settings(
            cfg=cfg,
            variant=variant,
            data=str(tiny_data),
            project=tmp_path,
            imgsz=HEADS[cfg],
            batch=2,
            nominal_batch=2,
            device="cpu",
            epochs=1,
        )
    )
    randomise_batch_norms(trainer.state.raw_model)  # timm: a factor of 0 on each residual branch
    losses = trainer.accumulation([next(iter(trainer.loader))], [2])
    assert all(math.isfinite(loss) for loss in losses.values())
    model = trainer.state.raw_model
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    backbone = [
        raw.index for raw in read_model_file(cfg, variant).rows if raw.section == "backbone"
    ]
    still = [n for n, p in model.rows[: len(backbone)].named_parameters() if not p.grad.any()]
    assert still == []


@pytest.mark.parametrize(
    ("cfg", "variant"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair in LARGEST)) for pair in GRID],
)
def test_fuses(cfg: str, variant: str) -> None:
    model = build(cfg, 2, variant)
    randomise_batch_norms(model)
    _, report = deploy(model)
    assert report.fused_blocks > 0
    assert report.difference_fp64 <= 1e-10


def settle_batch_norms(model: Detector) -> None:
    """Random weights of the norms, and the statistics that maps then have, as after training.

    With random statistics too, SSD on RepVGG-A0 gives offsets of 200, where float32 is exact to
    1e-2 pixels: its own maps lie 3e-5 of the largest coordinate from those in float64.
    """
    randomise_batch_norms(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average of all batches
    with torch.no_grad():
        model.train()(torch.rand(16, 3, *model.preprocess.size_hw))


@pytest.mark.parametrize(
    ("cfg", "variant"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair != SMALLEST)) for pair in GRID],
)
def test_ships(cfg: str, variant: str, tiny_data: Path, tmp_path: Path) -> None:
    """Saved, loaded, exported as ONNX; val measures with that file."""
    torch.manual_seed(0)
    model = build(cfg, ["red", "green"], variant)
    model.preprocess = model.preprocess.with_size((HEADS[cfg], HEADS[cfg]))
    settle_batch_norms(model)
    save_weights(tmp_path / "a.safetensors", model)
    report = export_model(load(tmp_path / "a.safetensors"), "onnx", tmp_path / "a")
    assert report.proof.findings.images > 0
    words = ["--weights", str(report.path), "--data", str(tiny_data)]
    assert run_tool("val", [*words, "--json", str(tmp_path / "metrics.json")]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= metrics["AP"] < 0.1  # nothing was learnt
