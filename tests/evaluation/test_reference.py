"""Figures of the authors' own evaluation, reached with the authors' mapping of boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import detector
from detector.structures.preprocess import Placement

pytestmark = pytest.mark.slow


def test_yolox_nano_as_its_authors_evaluate_it(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All twelve figures: boxes are divided by one ratio and not clipped to the image.

    Here boxes are clipped, and each axis has the scale to which its side was rounded.
    """
    reference = json.loads((shared / "reference" / "yolox_nano_coco128_val.json").read_text())

    def unclipped(self: Placement, boxes_xyxy: np.ndarray) -> np.ndarray:
        ratio = 416 / max(self.image_size_hw)
        return (boxes_xyxy / ratio).astype(np.float32)

    options = {"data": "coco128", "data_root": shared / "data" / "coco128"}
    weights = shared / "weights" / "yolox_nano_coco.pth"
    ours = detector.validate(weights, **options).summary
    assert ours["AP"] == pytest.approx(0.3380, abs=5e-4)
    assert ours["AP50"] == pytest.approx(0.4940, abs=5e-4)
    monkeypatch.setattr(Placement, "to_image", unclipped)
    theirs = detector.validate(weights, **options).summary
    for name, value in reference["figures"].items():
        assert theirs[name] == pytest.approx(value, abs=1e-4), name
