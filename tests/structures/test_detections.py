"""Detections and what they turn into."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from detector.structures.detections import Detections

NAMES = ("cell", "plate", "dot")


def detections() -> Detections:
    return Detections(
        np.array([[10, 20, 30, 60], [0, 0, 100, 50]], np.float32),
        np.array([0.9, 0.25], np.float32),
        np.array([2, 0], np.int64),
        NAMES,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes_xyxy": np.zeros((1, 4), np.float32)}, r"^expected boxes \(n, 4\), .* \(1, 4\)"),
        ({"boxes_xyxy": np.zeros((2, 5), np.float32)}, r"found \(2, 5\), \(2,\), \(2,\)$"),
        ({"class_ids": np.array([0], np.int64)}, r"found \(2, 4\), \(2,\), \(1,\)$"),
        ({"class_ids": np.array([0, 3], np.int64)}, r"^class_ids outside 0\.\.2$"),
        ({"class_ids": np.array([-1, 0], np.int64)}, r"^class_ids outside 0\.\.2$"),
        ({"scores": np.array([0.1, 0.2], np.float32)}, r"^scores are not in descending order$"),
    ],
)
def test_checked_when_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(**{**detections().__dict__, **changes})


def test_empty() -> None:
    none = Detections.empty(NAMES)
    assert len(none) == 0
    assert none.names == NAMES
    assert none.to_coco(1, (1, 2, 3)) == []
    assert none.to_yolo((10, 10)) == ""
    assert none.to_json() == {"boxes_xyxy": [], "scores": [], "class_ids": [], "class_names": []}
    assert len(none.to_supervision()) == 0
    assert len(none.filter(np.zeros(0, bool))) == 0


def test_filter_copies() -> None:
    all_of_them = detections()
    kept = all_of_them.filter(all_of_them.class_ids == 0)
    assert len(kept) == 1
    assert kept.scores[0] == 0.25
    kept.boxes_xyxy[:] = 0
    assert all_of_them.boxes_xyxy.sum() > 0


def test_to_coco() -> None:
    first, second = detections().to_coco(7, category_ids=(1, 3, 90))
    assert first == {
        "image_id": 7,
        "category_id": 90,
        "bbox": [10.0, 20.0, 20.0, 40.0],  # x, y, width, height
        "score": 0.9,
    }
    assert second["category_id"] == 1
    json.dumps([first, second])


def test_to_yolo() -> None:
    # (10 + 30) / 2 / 100 = 0.2, (20 + 60) / 2 / 80 = 0.5, 20 / 100 = 0.2, 40 / 80 = 0.5
    assert detections().to_yolo((80, 100)) == (
        "2 0.200000 0.500000 0.200000 0.500000 0.900000\n"
        "0 0.500000 0.312500 1.000000 0.625000 0.250000\n"
    )
    assert detections().to_yolo((80, 100), with_scores=False).splitlines()[0] == (
        "2 0.200000 0.500000 0.200000 0.500000"
    )


def test_to_json() -> None:
    assert json.loads(json.dumps(detections().to_json())) == {
        "boxes_xyxy": [[10, 20, 30, 60], [0, 0, 100, 50]],
        "scores": [0.9, 0.25],
        "class_ids": [2, 0],
        "class_names": ["dot", "cell"],
    }


def test_to_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    ours = detections()
    theirs = ours.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, ours.boxes_xyxy)
    np.testing.assert_array_equal(theirs.confidence, ours.scores)
    np.testing.assert_array_equal(theirs.class_id, ours.class_ids)
    assert theirs.data["class_name"].tolist() == ["dot", "cell"]
    theirs.xyxy[:] = 0
    assert ours.boxes_xyxy.sum() > 0
