"""Rows of many files: in order, each once, with an error where an image cannot be read.

Tests marked heavy need ``pip install pyarrow``.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.runtime.bulk import Row, as_text, images_of, list_files, rows_of
from detector.runtime.bulk_results import RUN, open_results, to_table
from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image

NAMES = ("cat", "dog")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images, a file that is none, and a tar of an image; a hidden file and a text beside."""
    folder = tmp_path / "images"
    for name, width in (("a", 4), ("c", 6)):
        write_image(folder / f"{name}.png", np.zeros((3, width, 3), np.uint8))
    (folder / "b.png").write_bytes(b"no image")
    with tarfile.open(folder / "d.tar", "w") as tar:
        tar.add(folder / "c.png", "e/1.png")
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").touch()
    return folder


def one_box(frames: Iterable[Frame]) -> Iterator[Result]:
    """A network that reads ahead, and finds the whole image."""
    waiting = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == 2:
            yield whole_image(waiting.pop(0))
    yield from map(whole_image, waiting)


def whole_image(frame: Frame) -> Result:
    height, width = frame.image_rgb.shape[:2]
    boxes = np.array([[0, 0, width, height]], np.float32)
    return Result(frame, Detections(boxes, np.float32([0.5]), np.int64([1]), NAMES))


def row(path: str, width: float) -> Row:
    return {
        "name": Path(path).stem,
        "path": path,
        "size_hw": [3, width],
        "boxes_xyxy": [[0, 0, width, 3]],
        "scores": [0.5],
        "class_ids": [1],
        "class_names": ["dog"],
    }


def expected(folder: Path) -> list[Row]:
    message = f"{folder}/b.png: is not an image that OpenCV can decode"
    return [
        row(f"{folder}/a.png", 4),
        {"path": f"{folder}/b.png", "error": message},
        row(f"{folder}/c.png", 6),
        row(f"{folder}/d.tar/e/1.png", 6),
    ]


def test_files(images: Path):
    names = ["a.png", "b.png", "c.png", "d.tar"]
    assert list_files(str(images)) == [f"{images}/{name}" for name in names]
    assert list_files(f"{images}/*.png") == [f"{images}/{name}" for name in names[:3]]
    assert list_files(f"{images}/d.tar") == [f"{images}/d.tar"]
    with pytest.raises(DetectorError, match="no such file or folder; did you mean 'images'"):
        list_files(str(images.parent / "image"))
    (images / "x").mkdir()
    with pytest.raises(DetectorError, match=r"x: holds no image and no \.parquet or \.tar file"):
        list_files(str(images / "x"))


def test_rows(images: Path):
    assert list(rows_of(images_of(list_files(str(images))), one_box)) == expected(images)
    assert list(rows_of(images_of([]), one_box)) == []


def test_errors_only(images: Path):
    files = [f"{images}/b.png", f"{images}/none.png", f"{images}/a.mp4"]
    (images / "a.mp4").touch()
    found = [row["error"] for row in rows_of(images_of(files), one_box)]
    assert found[1].startswith(f"{images}/none.png: no such file")
    assert "is a video, expected an image" in found[2]


@pytest.mark.parametrize("written", [1, 2, 3])
def test_what_is_written_is_left_out(images: Path, written: int):
    every = expected(images)
    paths = {row["path"] for row in every[:written]}
    found = rows_of(images_of(list_files(str(images)), paths), one_box)
    assert list(found) == every[written:]


def test_names_that_are_not_utf8(tmp_path: Path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xe9.png")
    (found,) = rows_of(images_of([name]), one_box)
    assert found["path"] == as_text(name) == f"{tmp_path}/\\xe9.png"
    assert "no such file" in found["error"]
    assert found["error"].encode()  # Parquet's texts are UTF-8


def test_only_results_and_parquet_files_need_pyarrow(images: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = "pyarrow is not installed; run: pip install pyarrow"
    (images / "e.parquet").touch()
    found = rows_of(images_of(list_files(str(images))), one_box)
    assert list(found) == [*expected(images), {"path": f"{images}/e.parquet", "error": message}]
    with pytest.raises(DetectorError) as caught:
        open_results(images / "results", images / "a.png", {})
    assert str(caught.value) == message


# ------------------------------------------------------------------------- written results


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best.onnx"
    path.write_bytes(b"weights")
    return path


def write_part(folder: Path, name: str, rows: list[Row], task: Any = "detect") -> Path:
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(to_table(rows, task), folder / name)
    return folder / name


@pytest.mark.heavy
def test_rows_are_read_as_they_were_written(images: Path, tmp_path: Path):
    pq = pytest.importorskip("pyarrow.parquet")
    rows = [{**row, "error": row.get("error")} for row in expected(images)]
    found = pq.read_table(write_part(tmp_path, "a.parquet", rows)).to_pylist()
    assert [{key: row[key] for key in own} for row, own in zip(found, rows, strict=True)] == rows
    error_only = write_part(tmp_path, "b.parquet", rows[1:2])
    assert pq.read_schema(error_only) == pq.read_schema(tmp_path / "a.parquet")
    classes = {"path": "a", "class_names": ["dog"], "probabilities": [0.9], "class_ids": [1]}
    (found,) = pq.read_table(write_part(tmp_path, "c.parquet", [classes], "classify")).to_pylist()
    assert {key: found[key] for key in classes} == classes


@pytest.mark.heavy
def test_a_folder_is_continued(
    images: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    pytest.importorskip("pyarrow")
    output, settings = tmp_path / "out", {"confidence": 0.25}
    assert open_results(output, weights, settings) == frozenset()
    rows = expected(images)
    write_part(output, "a.parquet", rows[:2])
    cut = output / "b.parquet"
    cut.write_bytes((output / "a.parquet").read_bytes()[:-20])
    assert open_results(output, weights, settings) == {row["path"] for row in rows[:2]}
    assert not cut.exists()
    assert caplog.messages == [f"{cut}: incomplete, removed; its images are predicted again"]


@pytest.mark.heavy
def test_rows_of_something_else_are_not_continued(weights: Path, tmp_path: Path):
    pytest.importorskip("pyarrow")
    output = tmp_path / "out"
    open_results(output, weights, {"confidence": 0.25})
    with pytest.raises(DetectorError) as caught:
        open_results(output, weights, {"confidence": 0.5})
    message = "the rows here were made with confidence 0.25, not 0.5; name a new folder"
    assert str(caught.value) == f"{output}: {message}"
    weights.write_bytes(b"others")
    with pytest.raises(DetectorError, match="the rows here were made with weights_sha256 "):
        open_results(output, weights, {"confidence": 0.25})
    (output / RUN).write_text("{")
    with pytest.raises(DetectorError, match=f"{RUN}: is not JSON"):
        open_results(output, weights, {})
    (output / RUN).write_text(json.dumps([1]))
    with pytest.raises(DetectorError, match="weights_sha256 None, not "):
        open_results(output, weights, {})
    (output / RUN).unlink()
    (output / "theirs.parquet").touch()
    with pytest.raises(DetectorError) as caught:
        open_results(output, weights, {})
    assert str(caught.value) == f"{output}: holds Parquet files, but no {RUN}; name a new folder"
    assert (output / "theirs.parquet").exists()
