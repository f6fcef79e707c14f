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
    """All twelve figures: boxes are divided by one ratio and may reach beyond the image.

    Here each axis has the scale to which its side was rounded, a difference below 0.001. Clipped to
    the image, as ``detect`` shows them, boxes have an AP that is higher by 0.0016.
    """
    reference = json.loads((shared / "reference" / "yolox_nano_coco128_val.json").read_text())

    def by_one_ratio(self: Placement, boxes_xyxy: np.ndarray, clip: bool) -> np.ndarray:
        assert not clip
        ratio = 416 / max(self.image_size_hw)
        return (boxes_xyxy / ratio).astype(np.float32)

    options = {"data": "coco128", "data_root": shared / "data" / "coco128"}
    weights = shared / "weights" / "yolox_nano_coco.pth"
    ours = detector.validate(weights, **options).summary
    assert ours["AP"] == pytest.approx(reference["figures"]["AP"], abs=5e-4)
    assert ours["AP50"] == pytest.approx(reference["figures"]["AP50"], abs=5e-4)
    clipped = detector.validate(weights, **options, clip_boxes=True).summary
    assert clipped["AP"] == pytest.approx(0.3380, abs=5e-4)
    monkeypatch.setattr(Placement, "to_image", by_one_ratio)
    theirs = detector.validate(weights, **options).summary
    for name, value in reference["figures"].items():
        assert theirs[name] == pytest.approx(value, abs=1e-4), name
