"""File names that are not UTF-8, and names almost as long as a file system allows."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.predict import open_backend
from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame, open_source
from detector.runtime.writers import JsonLinesWriter, MediaWriter, YoloTxtWriter
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image, write_image

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems' file names are always text"
)

NOT_UTF8 = os.fsdecode(b"caf\xe9")
LONG = "画" * 81  # 243 bytes


def result(path: Path, fps: float | None = None) -> Result:
    frame = Frame(path.stem, path, 0, np.zeros((64, 64, 3), np.uint8), fps)
    return Result(frame, Detections.empty(("cat",)))


@pytest.mark.parametrize("name", [NOT_UTF8, LONG, "画"], ids=["bytes", "long", "text"])
def test_all_readers_and_writers(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    image, video = folder / f"{name}.png", folder / f"{name}.mp4"
    with (
        MediaWriter(folder) as media,
        YoloTxtWriter(folder) as labels,
        JsonLinesWriter(folder / f"{name}.jsonl") as lines,
    ):
        for one in (result(image), result(video, 25.0)):
            media.write(one)
            labels.write(one)
            lines.write(one)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        f"{name}.png",
        f"{name}_2.mp4",
        f"{name}.txt",
        f"{name}_2/000000.txt",
        f"{name}.jsonl",
    }
    assert read_image(image).shape == (64, 64, 3)
    sources = [image, folder / f"{name}_2.mp4", folder]
    assert [len(list(open_source(source))) for source in sources] == [1, 1, 2]
    read = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]
    assert [record["path"] for record in read] == [str(image), str(video)]


def test_json_lines_spell_bytes_that_are_not_text(tmp_path: Path) -> None:
    with JsonLinesWriter(tmp_path / "a.jsonl") as lines:
        lines.write(result(Path(f"{NOT_UTF8}é.png")))
    assert b'"path": "caf\\udce9\xc3\xa9.png"' in (tmp_path / "a.jsonl").read_bytes()


def test_a_suffix_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / f"a.{NOT_UTF8}"
    with pytest.raises(DetectorError) as caught:
        write_image(path, np.zeros((8, 8, 3), np.uint8))
    assert str(caught.value) == f"{path}: no image format has the suffix '.caf\\udce9'"


def test_errors_about_videos_name_the_file_and_not_a_link_to_it(tmp_path: Path) -> None:
    path = tmp_path / f"{NOT_UTF8}.mp4"
    path.touch()
    with pytest.raises(DetectorError) as caught:
        open_source(path)
    assert str(caught.value) == f"{path}: is not a video that OpenCV can read"


@pytest.mark.parametrize("weights", ["finder_onnx", "finder_openvino"])
def test_exported_files_in_such_a_folder(
    tmp_path: Path, weights: str, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / NOT_UTF8
    shutil.copytree(request.getfixturevalue(weights).parent, folder)
    file = folder / request.getfixturevalue(weights).name
    assert open_backend(file).names == ("red", "green")
