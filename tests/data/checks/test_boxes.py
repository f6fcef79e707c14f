"""Boxes of one image that are probably wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.checks import boxes
from detector.data.checks.boxes import box_findings, box_issues, touching_border

CASES = [
    ([], []),
    ([(0, 10, 10, 30, 30)], []),
    # 20·20 of 20·22: IoU 0.909, and 0.87 for 23
    ([(0, 10, 10, 30, 30), (0, 10, 10, 30, 32)], ["duplicate-boxes: IoU 0.91 with that of line 1"]),
    ([(0, 10, 10, 30, 30), (0, 10, 10, 30, 33)], ["nested-boxes: in that of line 2"]),
    (
        [(0, 10, 10, 30, 30), (1, 10, 10, 30, 32)],
        ["boxes-of-two-classes: IoU 0.91 with that of line 1"],
    ),
    ([(0, 10, 10, 30, 30), (1, 15, 15, 20, 20)], []),
    ([(0, 10, 10, 90, 50), (0, 15, 15, 20, 20)], ["nested-boxes: in that of line 1"]),
    ([(0, -0.4, 10, 20, 30)], []),  # as rounded fractions have it
    ([(0, -3, 10, 20, 30)], ["clipped-boxes: 3.0 px beyond the border"]),
    ([(0, 10, 10, 10, 30)], ["empty-boxes: zero wide or high"]),
    ([(0, 200, 10, 220, 30)], ["boxes-outside: outside the image"]),
    ([(0, 0, 10, 90, 14)], ["needle-boxes: 22 times as long as wide"]),
    ([(0, 0, 0, 100, 60)], ["whole-image-boxes: 100% of the image"]),
    # the check before training reports these as invalid
    ([(0, 30, 10, 10, 30), (0, np.nan, 1, 2, 3), (0, 0, 0, np.inf, 3)], []),
]


def found(rows: list[tuple[float, ...]]) -> list[str]:
    table = np.array(rows, np.float64).reshape(-1, 5)
    lines = list(range(1, len(rows) + 1))
    issues = box_issues(table[:, 1:], table[:, 0].astype(np.int64), (60, 100), lines)
    return [f"{issue.kind}: {issue.detail}" for issue in issues]


@pytest.mark.parametrize(("rows", "expected"), CASES)
def test_issues_of_an_image_of_100_by_60_pixels(rows, expected):
    assert found(rows) == expected


def test_formats_without_lines():
    both = np.array([[10, 10, 30, 30]] * 2, np.float64)
    (issue,) = box_issues(both, np.zeros(2, np.int64), (60, 100), [None, None])
    assert issue == ("duplicate-boxes", "IoU 1.00 with another box", None)


def test_a_crowded_image_is_not_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxes, "MAX_PAIRED_BOXES", 3)
    rows = [(0, 10, 10, 30, 30)] * 3
    assert len(found(rows)) == 2
    assert found([*rows, rows[0]]) == ["crowded-images: 4 boxes"]


def test_findings_are_in_the_order_of_the_kinds():
    issues = [
        ("train", Path("b.txt"), boxes.BoxIssue("nested-boxes", "in that of line 2", 7)),
        ("val", Path("a.txt"), boxes.BoxIssue("duplicate-boxes", "IoU 0.95", 3)),
        ("val", Path("a.txt"), boxes.BoxIssue("crowded-images", "4000 boxes")),
    ]
    double, nested, crowded = box_findings(issues)
    assert double.message == "1 box labeled twice: two boxes of a class with IoU of at least 0.9"
    assert str(double.places[0]) == "val: a.txt:3: IoU 0.95"
    assert nested.message == "1 box inside a larger one of the same class"
    assert crowded.message == (
        "1 image with more than 2000 boxes, which were not compared with each other"
    )


def test_boxes_at_the_border():
    table = np.array([[0, 5, 9, 9], [2, 5, 9, 9], [20, 5, 99.5, 9], [20, 5, 50, 60]], np.float32)
    assert touching_border(table, (60, 100)) == 3
