"""Five families of timm on both kinds of detection head: trained, fused, exported."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.export.run import export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy
from detector.model.detector import Detector, build

NETWORKS = [
    "resnet18",
    "densenet121",
    "mobilenetv4_conv_small",
    "repvit_m0_9",
    "convnext_atto",
]
HEADS = {
    "Detect": "[[12, 12, 24, 24], [24, 24, 32, 32], [32, 32, 48, 48]]",
    "SSDHead": "[[6, 12], [12, 24], [24, 48]]",
}
"""Head → its anchors for 64 px."""
ARGUMENTS = {
    "Detect": "[nc, anchors]",
    "SSDHead": "{nc: nc, anchors: anchors, ratios: [[2], [2], [2]], steps: [8, 16, 32]}",
}
PAIRS = [(network, head) for network in NETWORKS for head in HEADS]
FAST = [("mobilenetv4_conv_small", "Detect")]


def model_file(folder: Path, network: str, head: str) -> Path:
    path = folder / f"{network}.yaml"
    path.write_text(
        f"nc: 2\nimgsz: 64\nanchors: {HEADS[head]}\n"
        f"backbone: {{timm: {network}, out: [P3, P4, P5]}}\n"
        f"head:\n  - [[P3, P4, P5], 1, {head}, {ARGUMENTS[head]}]\n"
    )
    return path


@pytest.mark.parametrize(
    ("network", "head"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (pair[1] != "Detect" and pair not in FAST))
        for pair in PAIRS
    ],
)
def test_one_step(
    network: str, head: str, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loss is finite, and every parameter has a gradient; those of all outputs are not zero.

    One image need not have an object for each of SSD's levels.
    """
    trainer = prepare(
        train_settings(
            cfg=str(model_file(tmp_path, network, head)),
            data=str(tiny_data),
            project=tmp_path,
            imgsz=64,
            batch=2,
            nominal_batch=2,
            device="cpu",
            epochs=1,
        )
    )
    assert "no batch norm" not in caplog.text  # ConvNeXt's layer norms do as well
    model = trainer.state.raw_model
    randomise_batch_norms(model)  # timm begins with a factor of 0 on each residual branch
    losses = trainer.accumulation([next(iter(trainer.loader))], [2])
    assert all(math.isfinite(loss) for loss in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    model.zero_grad()
    raw_outputs = model(torch.rand(2, 3, 64, 64))
    sum((raw * torch.rand_like(raw)).sum() for raw in raw_outputs).backward()
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []


def settled(network: str, head: str, folder: Path) -> Detector:
    """Random weights of the norms, and statistics as features then have them."""
    torch.manual_seed(0)
    model = build(model_file(folder, network, head))
    randomise_batch_norms(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average of all batches
    with torch.no_grad():
        model.train()(torch.rand(8, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize(
    ("network", "head"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in FAST)) for pair in PAIRS],
)
def test_fused_and_exported(network: str, head: str, tmp_path: Path) -> None:
    """The deployed network and its ONNX file give the same outputs."""
    model = settled(network, head, tmp_path)
    _, fused = deploy(model)
    assert fused.difference_fp64 <= 1e-10
    assert fused.fused_blocks == (network != "convnext_atto")  # which has layer norms only
    report = export_model(model, "onnx", tmp_path / "a")
    assert report.proof.findings.images > 0


@pytest.mark.parametrize("frozen", [0, 1])
def test_freezing(frozen: int, tiny_data: Path, tmp_path: Path) -> None:
    """Row 0 is the whole backbone, batch norms included."""
    trainer = prepare(
        train_settings(
            cfg=str(model_file(tmp_path, "resnet18", "Detect")),
            data=str(tiny_data),
            project=tmp_path,
            imgsz=64,
            batch=2,
            nominal_batch=2,
            device="cpu",
            epochs=1,
            pictures=False,
            freeze=frozen,
        )
    )
    backbone = trainer.state.raw_model.rows[0]
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    trainer.fit()
    changed = [n for n, t in backbone.state_dict().items() if not torch.equal(t, before[n])]
    assert bool(changed) == (frozen == 0)
