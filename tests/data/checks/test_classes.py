"""Class names and the balance of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.checks.classes import class_counts, class_findings, name_findings
from detector.structures.samples import Sample


def sample(*class_ids: int, crowd: bool = False) -> Sample:
    n = len(class_ids)
    boxes = np.tile(np.array([[0, 0, 5, 5]], np.float32), (n, 1))
    ids = np.array(class_ids, np.int64)
    return Sample(Path("a"), boxes, ids, (10, 10), 1, crowd=np.full(n, crowd))


def test_counts_without_crowds():
    samples = {"train": [sample(0, 0, 2), sample(0, crowd=True)], "val": []}
    assert class_counts(["a", "b", "c"], samples) == {
        "a": {"train": 2, "val": 0},
        "b": {"train": 0, "val": 0},
        "c": {"train": 1, "val": 0},
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["cat", "dog", "cats", "bear", "pear"], []),  # short names often differ by a letter
        (["traffic light", "Traffic-Light"], ["'traffic light' and 'Traffic-Light'"]),
        (["platelet", "Platelets"], ["'platelet' and 'Platelets'"]),
        (["neutrophil", "neutropil", "lymphocyte"], ["'neutrophil' and 'neutropil'"]),
        (["recieve", "receive"], ["'recieve' and 'receive'"]),
        (["class10", "class11"], []),  # numbers
        (["sensor 12", "sensor 13"], []),
        (["x" * 100_000, "x" * 99_999], []),
    ],
)
def test_names(names: list[str], expected: list[str]):
    assert [one.message.rpartition(": ")[2] for one in name_findings(names)] == expected


def test_one_pair_among_many_names():
    """Pairs are looked up: comparing 5,001 names with each other would be 12.5 million times."""
    names = [
        f"{'abcdefghij'[n % 10]}{n:x}".translate(str.maketrans("0123456789", "ghijklmnop"))
        for n in range(5000)
    ]
    assert list(name_findings(names)) == []
    (found,) = name_findings([*names, "zebrafish", "zebrafich"])
    assert found.message.endswith(": 'zebrafish' and 'zebrafich'")


def test_missing_unused_and_rare():
    counts = {
        "a": {"train": 300, "val": 10},
        "b": {"train": 3, "val": 0},
        "c": {"train": 0, "val": 0},
    }
    assert [(one.kind, one.message) for one in class_findings(counts)] == [
        ("unused-classes", "1 class without a box: 'c'"),
        ("missing-classes", "split 'val' has no box of 1 class that other splits have: 'b'"),
        ("imbalance", "class 'a' has 310 boxes, class 'b' 3"),  # 310 ≥ 100 · 3
    ]


def test_nothing_is_said_of_classes_without_any_box():
    assert list(class_findings({"a": {"train": 0}, "b": {"train": 0}})) == []
