"""A working folder with the files that the pages name, and trainings that take seconds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import detector
from tests.docs.pages import ROOT

QUICK: dict[str, Any] = {
    "epochs": 1,
    "limit": 8,
    "imgsz": 64,
    "batch": 4,
    "workers": 0,
    "device": "cpu",
    "pictures": False,
}
"""Settings that replace those of a page's trainings."""

FOLDS = 2


@pytest.fixture
def work(
    finder: Path,
    finder_onnx: Path,
    finder_images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working folder with the files that the pages name; one object of ``val`` has no label."""
    shutil.copy(finder, tmp_path / "best.safetensors")
    for file in finder_onnx.parent.glob("*.onnx*"):
        shutil.copy(file, tmp_path / file.name.replace(finder_onnx.stem, "best", 1))
    shutil.copytree(finder_images, tmp_path / "images")
    for name in ("bus.jpg", "map.png"):
        shutil.copy(finder_images / "a.png", tmp_path / name)
    (tmp_path / "cfg").symlink_to(ROOT / "cfg")
    data = tmp_path / "path" / "to" / "folder"
    for split in ("train", "val"):
        shutil.copytree(finder_images, data / split / "images")
        shutil.copytree(finder_images.parent / "labels", data / split / "labels")
    (data / "val" / "labels" / "b.txt").write_text("")
    (data / "data.yaml").write_text("names: [red, green]\ntrain: train/images\nval: val/images\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start_weights(work: Path, shared: Path) -> Path:
    """The weights that the pages start from, under the name that its authors publish it by."""
    return Path(shutil.copy(shared / "weights" / "yolox_nano_coco.pth", work / "yolox_nano.pth"))


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of the pages take seconds: the settings ``QUICK`` replace theirs."""
    train, cross_validate = detector.train, detector.cross_validate

    def quick_train(*words: Any, **settings: Any) -> Any:
        return train(*words, **{**settings, **QUICK})

    def quick_folds(*words: Any, **settings: Any) -> Any:
        return cross_validate(*words, **{**settings, **QUICK, "folds": FOLDS})

    monkeypatch.setattr(detector, "train", quick_train)
    monkeypatch.setattr(detector, "cross_validate", quick_folds)
