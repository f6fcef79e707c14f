"""``tracks``: the table, its JSON, and wrong files in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trackers")

GROUND_TRUTH = "1,1,0,0,10,10,1,1,1\n2,1,0,0,10,10,1,1,1\n2,2,50,0,10,10,1,8,1\n"
TRACKS = "1,4,0,0,10,10,0.9,-1,-1,-1\n2,4,0,0,10,10,0.9,-1,-1,-1\n"


def test_table(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(GROUND_TRUTH)
    (tmp_path / "clip.txt").write_text(TRACKS)
    ran = run("tracks", "--ground-truth", tmp_path / "gt.txt", "--tracks", tmp_path / "clip.txt")
    assert ran.code == 0
    names, _, values, ignored = ran.out.splitlines()
    assert names.split() == [
        "sequence", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "missed", "wrong",
    ]  # fmt: skip
    assert values.split() == ["gt", *["1.0000"] * 5, "0", "0", "0"]
    assert ignored == "gt: 1 rows of the ground truth do not count, by their class or confidence"
    assert ran.metrics["gt"]["HOTA"] == pytest.approx(1)
    assert ran.metrics["gt"]["matched"] == 2


def test_wrong_files(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(GROUND_TRUTH)
    words = ("--ground-truth", tmp_path / "gt.txt", "--tracks")
    assert fails("tracks", *words, tmp_path / "no.txt") == (
        f"{tmp_path / 'no.txt'}: no such file, expected boxes in MOT's format"
    )
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00binary")
    assert fails("tracks", *words, tmp_path / "bad.txt").startswith(
        f"{tmp_path / 'bad.txt'}:1: expected frame,id,left,top,width,height"
    )
    assert fails("tracks", *words, tmp_path / "gt.txt", "--iou", 0) == (
        "--iou: expected more than 0, found '0'"
    )
    assert fails("tracks", "--tracks", "x") == "--ground-truth is missing"
