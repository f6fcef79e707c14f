"""Every kind of source, and one line for everything that is not there."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from detector.runtime import sources
from detector.runtime.shards import Shard
from detector.runtime.sources import Frame, frames_of, open_source
from detector.runtime.streams.address import stream_name
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2, write_image


def names(source, on_bad=None):
    return [frame.name for frame in open_source(source, on_bad)]


def levels(source):
    return [int(frame.image_rgb[0, 0, 0]) for frame in open_source(source)]


def make_video(path: Path, frames: int = 4, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """Frames that become brighter by 50 each, 10 a second."""
    fourcc = cv2.VideoWriter.fourcc(*"MJPG" if path.suffix == ".avi" else "mp4v")
    writer = cv2.VideoWriter(str(path), fourcc, 10.0, size_hw[::-1])
    for index in range(frames):
        writer.write(np.full((*size_hw, 3), 50 * index, np.uint8))
    writer.release()
    return path


def fails(source, on_bad=None) -> str:
    with pytest.raises(DetectorError) as caught:
        list(open_source(source, on_bad))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_image(image_folder):
    source = open_source(image_folder / "b.png")
    (frame,) = source
    assert source.total == 1
    assert (frame.name, frame.path, frame.index) == ("b", image_folder / "b.png", 0)
    assert frame.fps is None
    assert frame.image_rgb.shape == (32, 64, 3)


def test_an_image_of_any_suffix_when_it_is_named(image_folder):
    (image_folder / "b.png").rename(image_folder / "photo.upload")
    assert names(image_folder / "photo.upload") == ["photo"]


def test_folder_by_name_one_level_without_other_files(image_folder):
    (image_folder / "notes.txt").write_text("nothing")
    (image_folder / "folder.jpg").mkdir()
    write_image(image_folder / "deeper" / "z.png", np.zeros((8, 8, 3), np.uint8))
    (image_folder / "d.PNG").write_bytes((image_folder / "a.png").read_bytes())
    source = open_source(str(image_folder))
    assert source.total == 4
    assert [frame.name for frame in source] == ["a", "b", "c", "d"]
    assert [frame.name for frame in source] == ["a", "b", "c", "d"]  # a second time


def test_hidden_files_are_left_out(image_folder):
    (image_folder / "._a.png").write_bytes(b"a Mac's notes on a.png")
    assert names(image_folder) == names(image_folder / "*") == ["a", "b", "c"]


def test_glob_and_its_subfolders(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    write_image(image_folder / "deeper" / "z.jpg", np.zeros((8, 8, 3), np.uint8))
    assert names("images/[ab].png") == ["a", "b"]
    assert names("images/**/*") == ["a", "b", "c", "z"]
    assert fails("images/*.bmp") == "images/*.bmp: matches no image or video"


def test_a_file_whose_name_looks_like_a_pattern(image_folder):
    (image_folder / "a.png").rename(image_folder / "a[1].png")
    assert names(image_folder / "a[1].png") == ["a[1]"]


def test_list_file_is_relative_to_itself(image_folder, monkeypatch):
    listed = image_folder.parent / "list.txt"
    listed.write_text(f"images/c.png\r\n\n  ./images/a.png\n{image_folder / 'b.png'}")
    monkeypatch.chdir("/")
    source = open_source(listed)
    assert source.total == 3
    assert [frame.name for frame in source] == ["c", "a", "b"]


def test_list_file_names_the_line_of_what_is_missing(image_folder):
    listed = image_folder / "list.txt"
    listed.write_text("a.png\nnone.png\n")
    missing = image_folder / "none.png"
    assert fails(listed) == f"{listed}:2: {missing}: cannot be read: No such file or directory"
    listed.write_text("\n")
    assert fails(listed) == f"{listed}: lists no image"
    listed.write_bytes(b"a.png\n\xff\xfe\n")
    assert fails(listed) == f"{listed}:2: is not UTF-8 text"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    ("name", "expected"), [("pipe.png", "expected an image"), ("pipe.mp4", "expected a video")]
)
def test_a_list_file_that_names_a_pipe(tmp_path, name, expected):
    os.mkfifo(tmp_path / name)
    listed = tmp_path / "list.txt"
    listed.write_text(f"{name}\n")
    message = fails(listed)
    assert message.startswith(f"{listed}:1: {tmp_path / name}: ")
    assert message.endswith(f"regular file, {expected}")


def test_a_list_file_with_a_line_without_end(image_folder):
    listed = image_folder / "list.txt"
    listed.write_bytes(b"a.png\n" + b"a" * sources.MAX_LINE_BYTES)
    assert fails(listed) == f"{listed}:2: has 32768 bytes or more, expected one path a line"


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_video_frame_by_frame(tmp_path, suffix):
    source = open_source(make_video(tmp_path / f"clip{suffix}"))
    frames = list(source)
    assert source.total == 4
    assert [frame.name for frame in frames] == ["clip"] * 4
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.fps for frame in frames] == [10.0] * 4
    # The codec is lossy: black, 50, 100, 150.
    assert [float(f.image_rgb.mean()) for f in frames] == pytest.approx([0, 50, 100, 150], abs=4)


def test_folder_of_images_and_videos(image_folder):
    make_video(image_folder / "b2.mp4", 2)
    source = open_source(image_folder)
    assert source.total is None
    assert [frame.name for frame in source] == ["a", "b", "b2", "b2", "c"]


def test_video_is_read_in_rgb(tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "red.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48)
    )
    writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))  # OpenCV's order: blue first
    writer.release()
    (frame,) = open_source(tmp_path / "red.avi")
    red, green, blue = frame.image_rgb[20, 20]
    assert red > 200
    assert max(green, blue) < 60


def test_broken_videos(tmp_path, capfd):
    whole = make_video(tmp_path / "whole.mp4").read_bytes()
    half, empty = tmp_path / "half.mp4", tmp_path / "empty.avi"
    half.write_bytes(whole[: len(whole) // 2])
    empty.write_bytes(b"")
    assert fails(half) == f"{half}: is not a video that OpenCV can read"
    assert fails(empty) == f"{empty}: is not a video that OpenCV can read"
    assert capfd.readouterr().err == ""


def test_an_unreadable_image_is_an_error_or_is_passed_over(image_folder):
    bad = image_folder / "b.png"
    bad.write_text("no image")
    assert fails(image_folder) == f"{bad}: is not an image that OpenCV can decode"
    errors: list[DetectorError] = []
    assert names(image_folder, errors.append) == ["a", "c"]
    assert [error.file for error in errors] == [bad]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("images/aa.png", "images/aa.png: no such file or folder; did you mean 'a.png'?"),
        ("image", "image: no such file or folder; did you mean 'images'?"),
        ("imges/a.png", "imges/a.png: no such folder as 'imges' in '.'; did you mean 'images'?"),
        ("images/a.png/b", "images/a.png/b: 'images/a.png' is a file, not a folder"),
        ("a" * 300, "a" * 300 + ": cannot be read: File name too long"),
        ("zzz", "zzz: no such file or folder"),
        ("images/empty", "images/empty: holds no image or video; subfolders are searched by a "
         "pattern such as 'images/empty/**/*.jpg'"),
        ("", "the source is empty; expected a file, folder, glob or stream"),
    ],
)  # fmt: skip
def test_nothing_there(image_folder, monkeypatch, source, message):
    monkeypatch.chdir(image_folder.parent)
    (image_folder / "empty").mkdir()
    assert fails(source) == message


def test_a_number_is_a_camera_unless_there_is_such_a_file(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder)
    opened = []

    class Camera:
        def __init__(self, target):
            opened.append(target)

        def isOpened(self):  # noqa: N802
            return False

        def release(self):
            opened.append("released")

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert fails("7") == "no camera with number 7"
    assert opened == [7, "released"]
    (image_folder / "7").mkdir()
    assert "holds no image" in fails("7")


def test_a_stream_is_opened_when_it_is_read_and_its_name_tells_no_password(monkeypatch):
    opened = []

    class Stream:
        def __init__(self, target):
            opened.append(target)
            self.left = 2

        def isOpened(self):  # noqa: N802
            return True

        def get(self, what):
            return float("nan")

        def read(self):
            self.left -= 1
            return self.left >= 0, np.zeros((4, 4, 3), np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Stream)
    url = "rtsp://user:secret@10.0.0.7/live/door.sdp?token=1"
    source = open_source(url)
    assert opened == []
    frames = list(source)
    assert opened == [url]
    assert [(frame.name, frame.path, frame.fps) for frame in frames] == [("door", None, 30.0)] * 2


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://me:secret@10.0.0.7/live/door.sdp?token=1", "door"),
        ("rtsp://me:secret@10.0.0.7", "stream"),
        ("rtsp://me:secret@10.0.0.7?token=secret", "stream"),
        ("rtsp://10.0.0.7/user=me_password=secret_channel=1.sdp", "user"),
        ("http://me:sec/ret@10.0.0.7/front door.mjpg", "front_door"),
    ],
)
def test_a_stream_is_named_after_the_end_of_its_path(url, name):
    assert stream_name(url) == name


def test_errors_about_streams_show_the_url_without_its_secrets():
    assert fails("rtsp://me:secret@127.0.0.1:9/door?token=secret") == (
        "rtsp://***@127.0.0.1:9/door?***: is not a video that OpenCV can read"
    )
    assert fails("rtsps://me:secret@127.0.0.1:9/door") == (
        "rtsps://***@127.0.0.1:9/door: expected one of rtsp://, rtmp://, http://, https://"
    )
    with pytest.raises(DetectorError) as caught:
        open_source("rtsp://me:secret@127.0.0.1:9/door", shard=Shard(1, 2))
    assert str(caught.value) == (
        "--shard 1/2: expected a folder, glob or list of files, found 'rtsp://***@127.0.0.1:9/door'"
    )


def test_one_image_in_memory_at_a_time(tmp_path):
    """Ten images of 3 MB: the peak stays below two of them and their compressed files."""
    for index in range(10):
        write_image(tmp_path / f"{index}.png", np.zeros((1000, 1000, 3), np.uint8))
    source = open_source(tmp_path)
    tracemalloc.start()
    for frame in source:
        assert frame.image_rgb.nbytes == 3_000_000
        del frame
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 3_000_000


def test_images_in_memory():
    image = np.zeros((4, 4, 3), np.uint8)
    first, second = frames_of([image, image])
    assert isinstance(first, Frame)
    assert [first.name, second.name] == ["image0", "image1"]
