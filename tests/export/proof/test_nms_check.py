"""Comparison of a file's NMS on boxes whose IoUs lie close to its threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.export.proof.nms_check import (
    FAR,
    GROUP,
    NEAR,
    Parts,
    check_nms,
    random_boxes,
)
from detector.runtime.backends.backend import Arrays
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings
from detector.structures.boxes import iou
from detector.utils.errors import DetectorError

IMAGES = np.zeros((2, 3, 640, 640), np.float32)


def parts_of(settings: NmsSettings, count: int, classes: int) -> Parts:
    """Return the parts of a file whose NMS has these settings."""

    def network(images: np.ndarray) -> Arrays:
        size = len(images), count
        return np.zeros((*size, 4), np.float32), np.zeros((*size, classes), np.float32)

    def file_nms(boxes_xyxy: np.ndarray, scores: np.ndarray) -> Arrays:
        rows = settings.max_detections
        found = [np.zeros((2, rows, 4), np.float32), np.zeros((2, rows), np.float32)]
        class_ids = np.full((2, rows), -1, np.int64)
        for image in range(2):
            kept = nms(boxes_xyxy[image], scores[image], settings)
            for part, values in zip((*found, class_ids), kept, strict=True):
                part[image, : len(values)] = values
        return (*found, class_ids)

    return Parts(network, file_nms)


@pytest.mark.parametrize("iou_threshold", [0.45, 0.6, 0.7])
@pytest.mark.parametrize(("count", "classes"), [(252, 3), (25_200, 20), (25_200, 80)])
def test_another_threshold(count: int, classes: int, iou_threshold: float) -> None:
    wanted = NmsSettings(confidence=0.25, iou=iou_threshold)
    check_nms(parts_of(wanted, count, classes), wanted, IMAGES)
    for other in (iou_threshold - 0.01, iou_threshold + 0.01, 1.0):
        wrong = wanted.model_copy(update={"iou": other})
        with pytest.raises(DetectorError, match=r"^the exported file's NMS keeps \d+ random"):
            check_nms(parts_of(wrong, count, classes), wanted, IMAGES)


@pytest.mark.parametrize(
    "change", [{"confidence": 0.251}, {"max_detections": 299}, {"class_agnostic": True}]
)
def test_another_setting(change: dict[str, object]) -> None:
    wanted = NmsSettings(confidence=0.25, iou=0.45, max_detections=300)
    wrong = wanted.model_copy(update=change)
    with pytest.raises(DetectorError, match=r"^the exported file's NMS keeps "):
        check_nms(parts_of(wrong, 25_200, 80), wanted, IMAGES)


def test_groups_overlap_as_the_threshold_asks() -> None:
    settings = NmsSettings(confidence=0.5, iou=0.45)
    rng = np.random.default_rng(1)
    boxes_xyxy, scores = random_boxes(rng, 1000, 5, 20, 640, settings)
    drawn = scores.max(1) > -1
    assert drawn.sum() == 20 * GROUP
    assert not boxes_xyxy[~drawn].any()
    above = scores[drawn].max(1) > 0.5
    assert 0.4 < above.mean() < 0.75  # half, and more where a second class has its chance
    overlaps = iou_of_pairs(boxes_xyxy[drawn])
    near = np.abs(overlaps - 0.45)
    assert (near < FAR).sum() > 20 * (GROUP - 1)
    assert (near < NEAR).sum() > 20 * (GROUP // 2 - 1)


def iou_of_pairs(boxes_xyxy: np.ndarray) -> np.ndarray:
    boxes = torch.from_numpy(boxes_xyxy).double()
    return iou(boxes[:, None], boxes[None]).triu(1).numpy()


def test_fewer_boxes_than_a_group() -> None:
    settings = NmsSettings()
    boxes_xyxy, scores = random_boxes(np.random.default_rng(0), 3, 1, 1, 64, settings)
    assert (scores.max(1) > -1).all()
    assert (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all()
