"""Images, videos, YOLO txt and JSON lines: contents, names, and complete files or none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.runtime import writers
from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame, open_source
from detector.runtime.writers import (
    ImageWriter,
    JsonLinesWriter,
    MediaWriter,
    ResultNames,
    VideoWriter,
    YoloTxtWriter,
)
from detector.structures.classification import Classification
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image

# On an image of 100×200 pixels: centre (60, 40), 40 wide and 20 high.
BOX = [40, 30, 80, 50]


def result(path="in/bus.png", index=0, fps=None, level=0, size_hw=(100, 200), boxes=(BOX,)):
    frame = Frame(Path(path).stem, Path(path), index, np.full((*size_hw, 3), level, np.uint8), fps)
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, 0.75, np.float32),
        np.ones(n, np.int64),
        ("cat", "dög"),
    )
    return Result(frame, found)


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_image_drawn_and_as_it_came(tmp_path):
    one = result(level=10)
    with ImageWriter(tmp_path / "drawn") as writer:
        writer.write(one)
    with ImageWriter(tmp_path / "plain", drawn=False) as plain:
        plain.write(one)
    assert writer.count == 1
    assert (read_image(tmp_path / "drawn/bus.png") != 10).any()
    assert np.array_equal(read_image(tmp_path / "plain/bus.png"), one.image_rgb)


@pytest.mark.parametrize(
    ("path", "written"),
    [("a.JPG", "a.jpg"), ("a.webp", "a.webp"), ("a.jp2", "a.jpg"), ("a.b.png", "a.b.png")],
)
def test_formats_are_kept_where_they_can_be_written(tmp_path, path, written):
    with ImageWriter(tmp_path) as writer:
        writer.write(result(path))
    assert files(tmp_path) == [written]


def test_two_inputs_of_one_stem(tmp_path):
    with ImageWriter(tmp_path / "images") as images, YoloTxtWriter(tmp_path / "labels") as labels:
        for path in ("a/x.png", "b/x.png", "a/x.jpg", "a/X.png", "a/x_2.png"):
            images.write(result(path))
            labels.write(result(path))
    stems = ["X_4", "x", "x_2", "x_2_2", "x_3"]
    assert [Path(name).stem for name in files(tmp_path / "images")] == stems
    assert [Path(name).stem for name in files(tmp_path / "labels")] == stems


def test_names_of_many_files_of_one_stem_take_no_longer():
    names = ResultNames()
    frame = result("a/image.png").frame
    given = [names.for_frame(frame) for _ in range(20_000)]
    assert given[:3] == ["image", "image_2", "image_3"]
    assert len(set(given)) == 20_000


def test_names_of_frames_and_of_images_never_meet():
    names = ResultNames()
    frames = [result("clip.mp4", index, 10.0).frame for index in range(2)]
    image = result("clip.png").frame
    given = [names.for_frame(frame) for frame in (*frames, image, *frames)]
    assert given == [
        "clip/000000",
        "clip/000001",
        "clip_2",
        "clip_3/000000",
        "clip_3/000001",
    ]


def test_yolo_txt(tmp_path):
    with YoloTxtWriter(tmp_path) as writer:
        writer.write(result())
        writer.write(result("empty.png", boxes=()))
    # 60/200, 40/100, 40/200, 20/100 and the score.
    text = "1 0.300000 0.400000 0.200000 0.200000 0.750000\n"
    assert (tmp_path / "bus.txt").read_text() == text
    assert (tmp_path / "empty.txt").read_text() == ""


def test_json_lines(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    with JsonLinesWriter(path) as writer:
        writer.write(result())
        writer.write(result("clip.mp4", index=7, fps=25.0, boxes=()))
        assert not path.exists()
    first, second = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert first == {
        "name": "bus",
        "path": "in/bus.png",
        "size_hw": [100, 200],
        "boxes_xyxy": [[40.0, 30.0, 80.0, 50.0]],
        "scores": [0.75],
        "class_ids": [1],
        "class_names": ["dög"],
    }
    assert (second["frame"], second["boxes_xyxy"]) == (7, [])
    assert files(tmp_path) == ["new/results.jsonl"]


@pytest.mark.parametrize("error", [ValueError("a fault"), OSError("another")])
def test_a_failed_run_leaves_what_was_there(tmp_path, error):
    (tmp_path / "results.jsonl").write_text("before")

    def run():
        with JsonLinesWriter(tmp_path / "results.jsonl") as lines, VideoWriter(tmp_path) as video:
            lines.write(result())
            video.write(result("clip.mp4", fps=10.0))
            raise error

    with pytest.raises(type(error), match=str(error)):
        run()
    assert files(tmp_path) == ["results.jsonl"]
    assert (tmp_path / "results.jsonl").read_text() == "before"


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    def run():
        with JsonLinesWriter(tmp_path / "results.jsonl") as lines, VideoWriter(tmp_path) as video:
            lines.write(result())
            video.write(result("clip.mp4", fps=10.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert files(tmp_path) == ["clip.mp4", "results.jsonl"]
    assert open_source(tmp_path / "clip.mp4").total == 1


def test_videos_and_images(tmp_path):
    with MediaWriter(tmp_path, drawn=False) as writer:
        for index in range(3):
            writer.write(result("a/clip.mp4", index, 12.5, level=80 * index))
        assert files(tmp_path)[0].startswith(".clip.")  # beside, until it is whole
        writer.write(result("a/clip.png", level=5))
        for index in range(2):
            writer.write(result("b/clip.mp4", index, 25.0, size_hw=(60, 80)))
    assert writer.count == 6
    assert files(tmp_path) == ["clip.mp4", "clip_2.png", "clip_3.mp4"]
    frames = list(open_source(tmp_path / "clip.mp4"))
    assert [frame.fps for frame in frames] == [12.5] * 3
    assert [frame.image_rgb.mean() for frame in frames] == pytest.approx([0, 80, 160], abs=4)
    (first, _) = open_source(tmp_path / "clip_3.mp4")
    assert first.image_rgb.shape == (60, 80, 3)


def test_a_video_is_drawn_on(tmp_path):
    with VideoWriter(tmp_path) as writer:
        writer.write(result("clip.mp4", fps=10.0))
    (frame,) = open_source(tmp_path / "clip.mp4")
    assert frame.image_rgb.max() > 150


def test_a_frame_of_another_size(tmp_path):
    writer = VideoWriter(tmp_path)
    writer.write(result("clip.mp4", 0, 10.0))
    with pytest.raises(DetectorError) as caught:
        writer.write(result("clip.mp4", 1, 10.0, size_hw=(60, 80)))
    assert str(caught.value) == (
        f"{tmp_path / 'clip.mp4'}: a frame of 80×60 pixels in a video of 200×100"
    )
    writer._finish(failed=True)


def test_an_encoder_that_does_not_open(tmp_path, monkeypatch):
    class Closed:
        fourcc = staticmethod(lambda *letters: 0)

        def __init__(self, *args):
            pass

        def isOpened(self):  # noqa: N802
            return False

    monkeypatch.setattr(writers.cv2, "VideoWriter", Closed)
    with pytest.raises(DetectorError) as caught, VideoWriter(tmp_path) as writer:
        writer.write(result("clip.mp4", 0, 10.0))
    assert str(caught.value) == (
        f"{tmp_path / 'clip.mp4'}: cannot be written: OpenCV has no mp4v encoder for 200×100"
    )
    assert files(tmp_path) == []


@pytest.mark.parametrize("make", [ImageWriter, VideoWriter, MediaWriter, YoloTxtWriter])
def test_a_folder_that_is_a_file(tmp_path, make):
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises(DetectorError) as caught:
        make(taken)
    assert str(caught.value) == f"{taken}: is a file, expected a folder to write into"
    with pytest.raises(DetectorError) as caught:
        JsonLinesWriter(taken / "results.jsonl")
    assert str(caught.value) == f"{taken}: is a file, expected a folder to write into"


def test_a_classification_as_caption_and_json_line(tmp_path):
    frame = result(level=100).frame
    found = Classification.of(np.array([0.25, 0.75], np.float32), ("cat", "dög"))
    with ImageWriter(tmp_path) as images, JsonLinesWriter(tmp_path / "a.jsonl") as lines:
        for writer in (images, lines):
            writer.write(Result(frame, found))
    drawn = read_image(tmp_path / "bus.png")
    changed = (drawn != 100).any(-1)
    assert changed[0, 0] and not changed[50:].any()
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "name": "bus",
        "path": "in/bus.png",
        "size_hw": [100, 200],
        "class_names": ["dög", "cat"],
        "probabilities": [0.75, 0.25],
        "class_ids": [1, 0],
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size")
@pytest.mark.parametrize(
    ("limit_bytes", "reason"),
    [
        (0, "File too large"),
        (30_000, r"\d+ of 20 frames can be read from it; the disk may be full"),
    ],
)
def test_a_full_disk_does_not_replace_a_good_video(tmp_path, limit_bytes, reason):
    """OpenCV's writer reports no error; a limit of the size of files fails as a full disk does."""
    path = tmp_path / "clip.mp4"
    path.write_text("the video of an earlier run")
    program = f"""
import resource, numpy as np
from tests.runtime.test_writers import result
from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.runtime.writers import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))
rng = np.random.default_rng(0)
with VideoWriter({str(tmp_path)!r}, drawn=False) as writer:
    for index in range(20):
        image_rgb = rng.integers(0, 256, (100, 200, 3)).astype(np.uint8)
        frame = Frame("clip", None, index, image_rgb, 25.0)
        writer.write(Result(frame, result().prediction))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    message = rf"DetectorError: {re.escape(str(path))}: cannot be written: {reason}\n$"
    assert re.search(message, ran.stderr), ran.stderr
    assert files(tmp_path) == ["clip.mp4"]
    assert path.read_text() == "the video of an earlier run"


@pytest.mark.parametrize("size_hw", [(2, 2), (17, 31), (64, 64), (240, 321)])
def test_videos_of_odd_sizes_are_whole(tmp_path, size_hw):
    with VideoWriter(tmp_path) as writer:
        for index in range(3):
            writer.write(result("clip.mp4", index, 10.0, size_hw=size_hw))
    assert len(list(open_source(tmp_path / "clip.mp4"))) == 3
