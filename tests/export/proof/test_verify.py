"""A file is compared as strictly as the network's own rounding allows, and no less."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.export.proof import verify
from detector.export.proof.comparison import Comparison, ComparisonAfterNms
from detector.export.run import export_model
from detector.model.detector import Detector
from detector.runtime.backends.precision import tolerance_of
from detector.utils.errors import DetectorError

SPREAD = 1e-6
"""Of the head's raw outputs: float32 has steps of 6e-8 at their sigmoids of one half."""


@pytest.fixture
def hardly_trained(network: Detector) -> Detector:
    """Scores that differ in the last digits only: rounding decides which boxes NMS keeps."""
    model = copy.deepcopy(network)
    with torch.no_grad():
        for conv in model.head.m:
            conv.weight.mul_(SPREAD / conv.weight.abs().mean())
            conv.bias.zero_()
    return model


def test_rounding_decides_which_boxes_are_kept(
    hardly_trained: Detector, tmp_path: Path, images: torch.Tensor
):
    report = export_model(hardly_trained, "onnx", tmp_path / "a", [images[:1]])
    after = report.proof.findings.after_nms
    assert after.unmatched_share > tolerance_of("fp32").unmatched == 0.02
    assert report.proof.findings.before_nms.boxes_px < 1e-3


def test_more_than_the_noise_explains_is_refused(network: Detector, monkeypatch):
    """Noise changes 3 boxes of 100: 2 · 0.03 = 0.06 are allowed, not 0.07."""
    found = [7, 3]

    def compared(*_: object) -> ComparisonAfterNms:
        return ComparisonAfterNms(0.0, 0.0, 50, found.pop(0), 100)

    monkeypatch.setattr(verify, "compare_after_nms", compared)

    class File:
        eval_nms = network.eval_nms
        postprocess = None

    def compare(unmatched: int) -> ComparisonAfterNms:
        found[:] = [unmatched, 3]
        images = [np.zeros((1, 3, 64, 64), np.float32)]
        before = Comparison(1e-4, 1e-6, 1e-7, 1.0, 1)
        return verify._compare_after_nms(network, File(), images, tolerance_of("fp32"), before)

    message = (
        "the exported file differs from the network: 7 of 100 boxes after NMS have no "
        "counterpart, allowed is 6%; nothing was written"
    )
    with pytest.raises(DetectorError, match=f"^{message}$"):
        compare(7)
    assert compare(6).unmatched == 6


def test_the_noise_has_the_size_of_the_difference():
    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((1, 1000, 4), 10, np.float32), np.full((1, 1000, 2), 0.5, np.float32)

    boxes, scores = verify._with_noise(run, Comparison(0.25, 0.0025, 0.125, 1.0, 1))(None)
    assert 0.24 < np.abs(boxes - 10).max() <= 0.25
    assert 0.12 < np.abs(scores - 0.5).max() <= 0.125
    assert (boxes.dtype, scores.dtype) == (np.float32, np.float32)
