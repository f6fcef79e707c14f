"""The example with torchvision's detectors: what it draws, and that it learns."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "examples" / "mask_rcnn_vovnet.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mask_rcnn_vovnet", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mask_rcnn_vovnet"] = module
    spec.loader.exec_module(module)
    return module


def test_boxes_surround_masks(example: ModuleType) -> None:
    for number in range(20):
        image, target = example.draw(number, 64)
        assert image.shape == (3, 64, 64)
        assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"]) > 0
        assert not target["masks"].sum(0).gt(1).any()  # nothing is covered twice
        for mask, (x1, y1, x2, y2) in zip(target["masks"], target["boxes"].int(), strict=True):
            assert mask[y1:y2, x1:x2].sum() == mask.sum()
            assert mask[y1].any() and mask[y2 - 1].any()
            assert mask[:, x1].any() and mask[:, x2 - 1].any()


def test_overlap_of_masks(example: ModuleType) -> None:
    a, b = torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    a[0, :2] = True  # 8 pixels
    b[0, 1:3] = True  # 4 of 12 in common
    assert example.mask_iou(a, b)[0].tolist() == pytest.approx([1 / 3, 0])


@pytest.mark.slow
def test_it_overfits_four_images(example: ModuleType) -> None:
    assert example.main(["--images", "4", "--steps", "200"]) >= 0.9


@pytest.mark.slow
def test_cells(example: ModuleType, shared: Path) -> None:
    words = ["--bccd", str(shared / "data" / "bccd"), "--images", "2", "--steps", "2"]
    assert 0 <= example.main(words) <= 1
