"""The licence of published weights, which each command that opens them prints once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.weights.interop.packaged_names import packaged_names

Run = Callable[..., Any]
LINE = "yolox_nano_coco.pth: weights of YOLOX, licence: Apache-2.0; see docs/weights.md\n"
TRAIN = ("--epochs", 1, "--batch", 4, "--device", "cpu", "--mosaic", 0, "--imgsz", 64)


@pytest.fixture
def published(shared: Path) -> Path:
    return shared / "weights" / "yolox_nano_coco.pth"


@pytest.mark.slow
def test_train(run: Run, published: Path, tiny_data: Path, tmp_path: Path) -> None:
    """The file's head decides which flags there are, and is looked at before messages are shown."""
    where = ("--data", tiny_data, "--project", tmp_path, *TRAIN)
    ran = run("train", "--weights", published, *where)
    assert (ran.code, ran.out.count(LINE), ran.err.count(LINE)) == (0, 1, 0)
    again = run("train", "--cfg", "yolox", "--variant", "nano", "--weights", published, *where)
    assert (again.code, again.out.count(LINE)) == (0, 1)
    own = run("train", "--weights", ran.metrics["weights"], *where)
    assert (own.code, own.out.count("licence")) == (0, 0)


def said(ran: Any) -> tuple[int, int, str]:
    """Return the exit code, how often the line was printed, and what stands on stderr."""
    return ran.code, ran.out.count(LINE), ran.err


def test_val(run: Run, published: Path, tiny_data: Path, tmp_path: Path) -> None:
    names = json.dumps(packaged_names("coco"))
    data = tmp_path / "data.yaml"
    data.write_text(f"path: {tiny_data.parent}\nnames: {names}\nsplits: {{val: images/val}}\n")
    assert said(run("val", "--weights", published, "--data", data, "--imgsz", 64)) == (0, 1, "")


def test_detect(run: Run, published: Path, tiny_data: Path, tmp_path: Path) -> None:
    words = ("--source", tiny_data.parent / "images/val", "--output", tmp_path / "found")
    assert said(run("detect", "--weights", published, *words)) == (0, 1, "")


@pytest.mark.slow
def test_export(run: Run, published: Path, tmp_path: Path) -> None:
    words = ("--output", tmp_path / "a.onnx", "--imgsz", 64)
    assert said(run("export", "--weights", published, *words)) == (0, 1, "")
