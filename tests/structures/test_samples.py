"""Samples, targets and batches are checked when they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.structures.samples import Batch, Sample, Targets


def sample(**changes: Any) -> Sample:
    values: dict[str, Any] = {
        "path": Path("a.jpg"),
        "boxes_xyxy": np.array([[0, 0, 4, 5], [1, 1, 2, 3]], np.float32),
        "class_ids": np.array([0, 1], np.int64),
        "size_hw": (8, 8),
        "image_id": 3,
    }
    return Sample(**{**values, **changes})


def test_sample_fills_in_what_is_not_given() -> None:
    made = sample()
    assert made.crowd.tolist() == [False, False]
    assert made.difficult.tolist() == [False, False]
    assert made.areas.tolist() == [20, 2]  # 4 · 5, 1 · 2
    assert sample(areas=np.array([3, 1], np.float32)).areas.tolist() == [3, 1]


def test_sample_without_boxes() -> None:
    made = sample(boxes_xyxy=np.zeros((0, 4), np.float32), class_ids=np.zeros(0, np.int64))
    assert made.crowd.shape == made.areas.shape == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes_xyxy": np.zeros((1, 4), np.float32)}, r"^expected boxes of shape \(2, 4\), found"),
        (
            {"boxes_xyxy": np.zeros((2, 4), np.float32)},
            r"^a\.jpg: a box with zero or negative size$",
        ),
        ({"crowd": np.array([True])}, r"^expected 2 values of crowd, found 1$"),
        ({"areas": np.ones(3, np.float32)}, r"^expected 2 values of areas, found 3$"),
    ],
)
def test_bad_sample(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(**changes)


def targets(boxes: int = 2, classes: int = 2, index: int = 2) -> Targets:
    return Targets(
        torch.zeros(boxes, 4),
        torch.zeros(classes, dtype=torch.int64),
        torch.zeros(index, dtype=torch.int64),
    )


def test_targets() -> None:
    assert len(targets()) == 2
    assert len(targets(0, 0, 0)) == 0
    moved = targets().to("meta")
    assert {moved.boxes_xyxy.device.type, moved.image_index.device.type} == {"meta"}


@pytest.mark.parametrize("sizes", [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_bad_targets(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"^expected boxes \(m, 4\), class_ids \(m,\)"):
        targets(*sizes)


def test_batch() -> None:
    batch = Batch(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), targets())
    assert len(batch) == 2
    moved = batch.to("meta")
    assert moved.images.device.type == moved.targets.class_ids.device.type == "meta"


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),  # already normalised
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8),  # channels last
        torch.zeros(3, 8, 8, dtype=torch.uint8),
    ],
)
def test_bad_batch(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"^expected \(b, 3, h, w\) uint8 images, found"):
        Batch(images, targets())
