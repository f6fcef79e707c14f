"""Prediction and export from a GPU against the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import detector

MAX_BOX_DIFFERENCE, MAX_SCORE_DIFFERENCE = 0.5, 5e-3
"""Largest differences from the CPU's boxes, pixels, and scores: cuDNN's convolutions use TF32."""


@pytest.mark.parametrize("batch", [1, 4])
def test_boxes_are_those_of_the_cpu(
    finder: Path,
    finder_images: Path,
    device: torch.device,
    batch: int,
    record: Callable[..., None],
) -> None:
    images = sorted(finder_images.glob("*.png"))
    expected, found = (
        detector.Predictor(finder, device=str(one), batch=batch, confidence=0.3).predict(images)
        for one in ("cpu", device)
    )
    boxes = scores = 0.0
    for before, after in zip(expected, found, strict=True):
        assert after.class_names == before.class_names
        boxes = max(boxes, float(np.abs(after.boxes_xyxy - before.boxes_xyxy).max(initial=0)))
        scores = max(scores, float(np.abs(after.scores - before.scores).max(initial=0)))
    record(boxes_pixels=boxes, scores=scores)
    assert boxes <= MAX_BOX_DIFFERENCE
    assert scores <= MAX_SCORE_DIFFERENCE


def test_export_from_the_device(finder: Path, device: torch.device, tmp_path: Path) -> None:
    """A network on the GPU stays there, and its file is that of the network on the CPU."""
    model = detector.load(finder).to(device)
    paths = [tmp_path / "there.onnx", tmp_path / "here.onnx"]
    for network, path in zip((model, detector.load(finder)), paths, strict=True):
        detector.export(network, "onnx", path)
    assert next(model.parameters()).device.type == device.type
    assert paths[0].read_bytes() == paths[1].read_bytes()
