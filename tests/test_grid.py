"""Any backbone, any head: each pair trains, fuses, is exported, and is measured."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detector.data.dataset import DetectionDataset
from detector.engine.head_settings import train_settings
from detector.engine.norm_statistics import fitted_batches
from detector.engine.setup import prepare
from detector.evaluation.evaluation_set import open_evaluation_set
from detector.export.proof.comparison import compare
from detector.export.run import export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy
from detector.model.detector import Detector, build
from detector.model.model_file import read_model_file
from detector.predict import open_backend
from detector.runtime.backends.backend import Arrays
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.precision import tolerance_of
from detector.runtime.decoding.decoding import decode_all
from detector.settings.common import DataSettings, RuntimeSettings
from detector.utils.errors import DetectorError
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
IMAGES = 4
"""Number of images that a network is trained on, and measured on."""
QUICK = ("yolov5n", "timm-resnet18")
"""Backbones: one of rows, and one that returns a list."""
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
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair[1] not in QUICK)) for pair in GRID],
)
def test_fuses(cfg: str, variant: str) -> None:
    model = build(cfg, 2, variant)
    randomise_batch_norms(model)
    _, report = deploy(model)
    assert report.fused_blocks > 0
    assert report.difference_fp64 <= 1e-10


def settle_batch_norms(model: Detector, dataset: DetectionDataset) -> None:
    """Give norms random weights, and the statistics that features of the images then have.

    After one step boxes are nearly equal, so that the last digits decide which ones NMS keeps.
    With statistics that are random, too, or those of noise, SSD on RepVGG-A0 gives offsets of 200,
    where float32 is exact to 1e-2 pixels: its own raw outputs lie 3e-5 of the largest coordinate
    from those in float64.
    """
    randomise_batch_norms(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average of all batches
    with torch.no_grad():
        for images in fitted_batches(model.train(), dataset, len(dataset)):
            model(images)


def measured(path: Path, data: Path) -> tuple[dict[str, float], Arrays]:
    """Return the metrics of a file on the drawn images, and all boxes and scores of one of them."""
    backend = open_backend(path, RuntimeSettings(device="cpu"))
    images = open_evaluation_set(DataSettings(data=str(data), limit=IMAGES), "val", backend)
    metrics = images.measure(backend, backend.eval_nms, batch=1).summary
    sample = images.dataset.samples[0]
    fitted, _ = backend.preprocess.fit(sample.read_image())
    outputs = backend(backend.preprocess.normalize(fitted[None]))
    if isinstance(backend, ExportedBackend):
        decoding = backend.metadata.decoding
    else:
        decoding = backend.decoding
    return metrics, outputs if decoding is None else decode_all(decoding, outputs)


def assert_same(found: tuple[dict[str, float], Arrays], expected: tuple[dict[str, float], Arrays]):
    """Compare metrics, and boxes and scores before NMS, within the limits of a file in fp32."""
    (metrics, outputs), (own_metrics, own_outputs) = found, expected
    compared = compare(lambda _: own_outputs, lambda _: outputs, [own_outputs[0]], "detect")
    compared.check(tolerance_of("fp32"))
    assert metrics == pytest.approx(own_metrics, abs=tolerance_of("fp32").metric)


@pytest.mark.parametrize(
    ("cfg", "variant"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair != SMALLEST)) for pair in GRID],
)
def test_from_training_to_a_file(cfg: str, variant: str, tiny_data: Path, tmp_path: Path) -> None:
    """An epoch; then checkpoint, fused network and ONNX file have the same boxes and AP."""
    settings = train_settings(
        cfg=cfg,
        variant=variant,
        data=str(tiny_data),
        project=tmp_path,
        imgsz=HEADS[cfg],
        batch=IMAGES,
        nominal_batch=IMAGES,
        limit=IMAGES,
        device="cpu",
        epochs=1,
        pictures=False,
    )
    trainer = prepare(settings)
    trainer.fit()
    trained = load(trainer.run.last)
    settle_batch_norms(trained, trainer.datasets[1])
    checkpoint, fused = tmp_path / "a.safetensors", tmp_path / "fused.safetensors"
    save_weights(checkpoint, trained)
    network, report = deploy(load(checkpoint))
    assert report.fused_blocks > 0
    assert report.difference_fp64 <= 1e-10
    save_weights(fused, network)
    exported = export_model(load(checkpoint), "onnx", tmp_path / "a")
    assert exported.proof.findings.images > 0
    expected = measured(checkpoint, tiny_data)
    assert 0 <= expected[0]["AP"] < 0.1  # one step teaches nothing
    for path in (fused, exported.path):
        assert_same(measured(path, tiny_data), expected)


def test_files_that_differ_are_told_apart() -> None:
    """Three boxes of 64 px: 0.01 px are 1.6e-4 of the largest coordinate, 5e-5 are allowed."""
    boxes = np.tile(np.float32([0, 0, 64, 64]), (1, 3, 1))
    scores = np.full((1, 3, 2), 0.5, np.float32)
    assert_same(({"AP": 0.1}, (boxes, scores)), ({"AP": 0.1009}, (boxes, scores)))
    moved = boxes + np.float32(0.01)
    with pytest.raises(DetectorError, match="boxes by 1.00e-02 px, 1.56e-04 of the largest"):
        assert_same(({"AP": 0.1}, (moved, scores)), ({"AP": 0.1}, (boxes, scores)))
    with pytest.raises(AssertionError):
        assert_same(({"AP": 0.1}, (boxes, scores)), ({"AP": 0.102}, (boxes, scores)))
