"""What training says of its data before the first epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import open_dataset
from detector.engine import data_check
from detector.engine.data_check import train_lines
from detector.utils.opencv import write_image


def write(root: Path, split: str, rows: str, names: str) -> None:
    write_image(root / f"images/{split}/0.png", np.full((64, 64, 3), 90, np.uint8))
    (root / f"labels/{split}").mkdir(parents=True)
    (root / f"labels/{split}/0.txt").write_text(rows)
    (root / "data.yaml").write_text(f"names: {names}\ntrain: images/train\nval: images/val\n")


def lines(root: Path) -> list[str]:
    return train_lines("set", [open_dataset(root, split) for split in ("train", "val")])


BOX = "0.5 0.5 0.5 0.5\n"


def test_nothing_of_data_without_faults(tmp_path: Path):
    for split in ("train", "val"):
        write(tmp_path, split, f"0 {BOX}1 0.2 0.2 0.1 0.1\n", "[a, b]")
    assert lines(tmp_path) == []


def test_a_few_lines(tmp_path: Path):
    write(tmp_path, "train", f"0 {BOX}1 {BOX}1 0.5 0.5 0.49 0.5\n", "[cell, Cell]")
    write(tmp_path, "val", f"0 {BOX}", "[cell, Cell]")
    assert lines(tmp_path) == [
        "1 class under several names that differ in case, spaces or hyphens only: 'cell' and "
        "'Cell'",
        "split 'val' has no box of 1 class that other splits have: 'Cell'",
        "1 box labeled twice: two boxes of a class with IoU of at least 0.9",
        "detector check --data set lists the files and says what to do",
    ]


def test_more_than_a_few_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_check, "MAX_TRAIN_LINES", 1)
    write(tmp_path, "train", f"0 {BOX}1 {BOX}", "[cell, Cell]")
    write(tmp_path, "val", f"0 {BOX}", "[cell, Cell]")
    assert lines(tmp_path)[1:] == [
        "1 finding more; detector check --data set lists the files and says what to do"
    ]
