"""A file is compared as strictly as the network's own rounding allows, and no less."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.export.proof import verify
from detector.export.proof.comparison import ComparisonAfterNms
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


def test_more_than_rounding_explains_is_refused(network: Detector, monkeypatch):
    """The network's own result changes by 3 boxes of 100: 4 · 0.03 = 0.12 are allowed, not 0.13."""
    found = [13, 3]

    def compared(*_: object) -> ComparisonAfterNms:
        return ComparisonAfterNms(0.0, 0.0, 50, found.pop(0), 100)

    monkeypatch.setattr(verify, "compare_after_nms", compared)

    class File:
        eval_nms = network.eval_nms
        postprocess = None

    message = (
        "the exported file differs from the network: 13 of 100 boxes after NMS have no "
        "counterpart, allowed is 12%; nothing was written"
    )
    images = [np.zeros((1, 3, 64, 64), np.float32)]
    with pytest.raises(DetectorError, match=f"^{message}$"):
        verify._compare_after_nms(network, File(), images, tolerance_of("fp32"))
    found[:] = [12, 3]
    assert verify._compare_after_nms(network, File(), images, tolerance_of("fp32")).unmatched == 12
