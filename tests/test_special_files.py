"""Pipes, sockets, devices and folders in the place of files: one line each, and no reader waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import detector
from detector.data.dataset import open_dataset
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import OpenVinoBackend
from detector.runtime.sources import open_source
from detector.utils.archive import Archive
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image
from detector.weights.checkpoint import load_training_state
from detector.weights.pickles.pickles import looks_like_checkpoint, open_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

Make = Callable[[Path], Path]


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def socket_file(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))  # the limit is some 100 bytes
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


MADE = [pipe, socket_file, device]
EXPORTED = "an exported file, for detect and val only; expected .safetensors or .pt"

READERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("a.pt", detector.load, "is not a regular file, expected weights"),
    ("a.safetensors", detector.load, "is not a regular file, expected weights"),
    ("a.state.pt", load_training_state, "is not a regular file, expected an archive of PyTorch"),
    ("a.zip", Archive, "is not a regular file, expected an archive of PyTorch"),
    ("a.pt", lambda path: open_checkpoint(path).__enter__(),
     "is not a regular file, expected a checkpoint"),
    ("a.pt2", detector.load, EXPORTED),
    *[(f"a.{suffix}", detector.Predictor, "is not a regular file, expected a weights file")
      for suffix in ("pt", "safetensors", "onnx", "xml", "pt2")],
    ("a.onnx", OnnxBackend, "is not a regular file, expected an ONNX file"),
    ("a.xml", OpenVinoBackend, "is not a regular file, expected an OpenVINO file"),
    ("a.yaml", detector.build, "is not a regular file, expected a YAML file"),
    ("a.yaml", lambda path: open_dataset(path, "train"),
     "is not a regular file, expected a YAML file"),
    ("a.png", read_image, "is not a regular file, expected an image"),
    ("a.txt", open_source, "is neither a file nor a folder"),
    ("a.png", open_source, "is neither a file nor a folder"),
]  # fmt: skip


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize(("name", "read", "message"), READERS)
def test_what_is_no_file(
    name: str, read: Callable[[Path], object], message: str, make: Make, tmp_path: Path
) -> None:
    path = make(tmp_path / name)
    with pytest.raises(DetectorError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(("name", "read"), [(name, read) for name, read, _ in READERS[:15]])
def test_a_folder(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(DetectorError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", MADE)
def test_it_does_not_look_like_a_checkpoint(make: Make, tmp_path: Path) -> None:
    assert not looks_like_checkpoint(make(tmp_path / "a.pt"))
