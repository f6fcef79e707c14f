"""``check``: prints findings, writes JSON, a page and a copy, and can fail for CI."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detector
from detector.cli import run_tool
from detector.utils.opencv import write_image

Run = Callable[..., Any]


@pytest.fixture
def clean(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two splits of three images of noise, each with a box of each class."""
    root = tmp_path / "set"
    for split in ("train", "val"):
        (root / "labels" / split).mkdir(parents=True)
        for number in range(3):
            noise = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
            write_image(root / "images" / split / f"{number}.png", noise)
            label = root / "labels" / split / f"{number}.txt"
            label.write_text("0 0.25 0.25 0.25 0.25\n1 0.7 0.7 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [a, b]\ntrain: images/train\nval: images/val\n")
    return root


@pytest.fixture
def leaking(clean: Path) -> Path:
    """The same set with an image of val in train."""
    copy = clean / "images/train/copy.png"
    copy.write_bytes((clean / "images/val/0.png").read_bytes())
    (clean / "labels/train/copy.txt").write_text((clean / "labels/val/0.txt").read_text())
    return clean


def test_a_clean_set(run: Run, clean: Path):
    ran = run("check", "--data", clean, "--imgsz", 64, "--strict")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "split 'train': 3 images, 6 boxes",
        "split 'val': 3 images, 6 boxes",
        f"{clean / 'data.yaml'}: 0 errors, 0 warnings, 0 notes",
    ]
    assert ran.metrics["passes"] is True
    assert ran.metrics["findings"] == []


def test_a_leak(run: Run, leaking: Path):
    ran = run("check", "--data", leaking)
    assert ran.code == 0
    assert (
        "warning: 1 picture in more than one split (2 files with equal bytes or pixels); an image "
        "of one split that another split shows, too, makes its AP too high; --fix OUT leaves them "
        "out of train" in ran.out.splitlines()
    )
    (leak,) = [one for one in ran.metrics["findings"] if one["severity"] == "warning"]
    assert leak["kind"] == "exact-duplicates-across-splits"
    assert leak["files"][1] == {
        "file": str(leaking / "images/val/0.png"),
        "detail": "picture 1",
        "split": "val",
        "group": 1,
    }


def test_strict_is_an_exit_status_and_writes_json_all_the_same(leaking: Path, tmp_path: Path):
    file = tmp_path / "report.json"
    words = ["--data", str(leaking), "--json", str(file)]
    assert run_tool("check", [*words, "--strict"]) == 1
    assert json.loads(file.read_text())["counts"]["warning"] == 1
    assert run_tool("check", words) == 0
    assert run_tool("check", [*words, "--strict", "--split", "val"]) == 0


def test_the_page_and_the_copy(run: Run, leaking: Path, tmp_path: Path):
    page, copy = tmp_path / "check.html", tmp_path / "copy"
    ran = run("check", "--data", leaking, "--html", page, "--fix", copy)
    assert "Check of" in page.read_text(encoding="utf-8")
    assert ran.out.splitlines()[-2:] == [
        f"cleaned copy in {copy}, boxes only, as COCO JSON: 1 change",
        f"  train: {leaking / 'images/train/copy.png'} left out: the picture of val: "
        f"{leaking / 'images/val/0.png'}",
    ]
    assert ran.metrics["fix"]["folder"] == str(copy)
    assert run("check", "--data", copy, "--strict").code == 0


def test_anchors(run: Run, clean: Path, tiny_cfg: Path):
    """The tiny model's anchors are 12 to 48 px: boxes of 16 and 32 px match, those of 2 px do not.

    Of 7 boxes in train one has none within 4 times its sides: 6 of 7 are 85.7 %.
    """
    assert run("check", "--data", clean, "--cfg", tiny_cfg, "--strict").code == 0
    label = clean / "labels/train/0.txt"
    label.write_text(label.read_text() + "1 0.5 0.1 0.04 0.04\n")
    ran = run("check", "--data", clean, "--cfg", tiny_cfg, "--split", "train")
    assert (
        "warning: the head's anchors match 85.7% of the boxes, 1 of 7 have none within 4 times "
        "their sides; detector anchors fits anchors to the data" in ran.out
    )


def test_errors(fails: Run, clean: Path, tmp_path: Path, tiny_cfg: Path):
    assert fails("check") == "--data is missing"
    assert fails("check", "--data", clean, "--split", "train,vall") == (
        f"{clean / 'data.yaml'}: no split 'vall'; did you mean 'val'?"
    )
    assert fails("check", "--data", clean, "--cfg", tiny_cfg, "--weights", "w.pt") == (
        "--cfg and --weights: expected one of both"
    )
    assert fails("check", "--data", clean, "--fix", clean, "--strict") == (
        f"{clean}: is not empty, expected a new or empty folder"
    )
    assert fails("check", "--data", clean, "--cfg", tiny_cfg, "--imgsz", 100).startswith(
        "imgsz 100 is not a multiple of the network's stride 16"
    )


def test_from_python(leaking: Path, tmp_path: Path):
    report = detector.check(leaking, imgsz=64, html=tmp_path / "a.html")
    assert isinstance(report, detector.DataReport)
    assert not report.passes
    assert [one.kind for one in report.findings if one.severity != "note"] == [
        "exact-duplicates-across-splits"
    ]
    assert (tmp_path / "a.html").is_file()
    with pytest.raises(detector.DetectorError, match="unknown key 'imgsize'"):
        detector.check(leaking, imgsize=64)
