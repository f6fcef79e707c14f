"""Videos cut short or damaged, cameras and streams that end: what is read, and what is said."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from detector.runtime import video
from detector.runtime.sources import open_source
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2, write_image

FRAMES = 20


def make_video(path: Path, codec: str = "mp4v") -> Path:
    """A video of noise, so that every frame takes many bytes."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 48))
    for _ in range(FRAMES):
        writer.write(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))
    writer.release()
    return path


def cut_short(path: Path, codec: str = "MJPG") -> Path:
    data = make_video(path, codec).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def damage(path: Path, codec: str = "mp4v") -> Path:
    """Zeros over a tenth of the file, in its middle."""
    data = make_video(path, codec).read_bytes()
    start, length = len(data) // 2, len(data) // 10
    path.write_bytes(data[:start] + bytes(length) + data[start + length :])
    return path


def read(source: object) -> tuple[list[int], str]:
    """The numbers of the frames, and the error after the last one."""
    numbers = []
    try:
        for frame in open_source(str(source)):
            numbers.append(frame.index)
    except video.IncompleteVideoError as error:
        return numbers, str(error)
    return numbers, ""


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.avi", "XVID"), ("a.mkv", "XVID"), ("a.mov", "mp4v")],
)
def test_a_whole_video_is_complete(tmp_path, name, codec):
    assert read(make_video(tmp_path / name, codec)) == (list(range(FRAMES)), "")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.AVI", "MJPG"), ("a.avi", "XVID")]
)
def test_a_video_cut_short(tmp_path, name, codec):
    path = cut_short(tmp_path / name, codec)
    numbers, message = read(path)
    assert numbers == list(range(len(numbers)))
    assert 1 <= len(numbers) < FRAMES
    assert message == (
        f"{path}: {len(numbers)} of 20 frames could be read: it is cut short or damaged"
    )


def test_frames_after_damage_keep_their_numbers(tmp_path):
    path = damage(tmp_path / "a.mp4")
    numbers, message = read(path)
    missing = sorted(set(range(FRAMES)) - set(numbers))
    assert 1 <= len(missing) <= 4
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert numbers[0] == 0
    assert numbers[-1] == FRAMES - 1
    assert message == (
        f"{path}: {len(numbers)} of 20 frames could be read: it is cut short or damaged"
    )


def test_a_folder_is_read_on_after_an_incomplete_video(tmp_path):
    cut_short(tmp_path / "a.avi")
    damage(tmp_path / "b.mp4")
    write_image(tmp_path / "c.png", np.zeros((8, 8, 3), np.uint8))
    errors: list[DetectorError] = []
    names = {frame.name for frame in open_source(tmp_path, errors.append)}
    assert names == {"a", "b", "c"}
    assert [error.file for error in errors] == [tmp_path / "a.avi", tmp_path / "b.mp4"]


def test_a_list_file_names_the_line_of_an_incomplete_video(tmp_path):
    path = cut_short(tmp_path / "a.avi")
    (tmp_path / "list.txt").write_text("a.avi\n")
    errors: list[DetectorError] = []
    count = len(list(open_source(tmp_path / "list.txt", errors.append)))
    assert isinstance(errors[0], video.IncompleteVideoError)
    assert str(errors[0]) == (
        f"{tmp_path / 'list.txt'}:1: {path}: {count} of 20 frames could be read: "
        "it is cut short or damaged"
    )


class Capture:
    """A capture of frames that are read (1) or not (0), 25 a second, with a header."""

    reads, stated, size_wh = "11", 0.0, (4.0, 4.0)

    def __init__(self, target):
        self.target = target
        self.asked = 0

    def isOpened(self):  # noqa: N802
        return True

    def get(self, what):
        return {
            cv2.CAP_PROP_FPS: 25.0,
            cv2.CAP_PROP_FRAME_COUNT: self.stated,
            cv2.CAP_PROP_POS_MSEC: (self.asked - 1) * 40.0,
            cv2.CAP_PROP_FRAME_WIDTH: self.size_wh[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size_wh[1],
        }[what]

    def read(self):
        self.asked += 1
        return self.reads[self.asked - 1 :][:1] == "1", np.zeros((4, 4, 3), np.uint8)

    def release(self):
        pass


@pytest.fixture
def capture(monkeypatch) -> type[Capture]:
    class Own(Capture):
        pass

    monkeypatch.setattr(cv2, "VideoCapture", Own)
    return Own


def test_a_camera_that_stops(capture):
    assert read("0") == ([0, 1], "camera 0: stopped after 2 frames")


def test_a_stream_says_that_it_ended(capture, caplog):
    with caplog.at_level(logging.WARNING):
        assert read("rtsp://me:secret@10.0.0.7/door") == ([0, 1], "")
    assert caplog.messages == ["rtsp://***@10.0.0.7/door: the stream ended after 2 frames"]


def test_a_video_at_a_url_with_a_count(capture, caplog):
    capture.stated = 3.0
    url = "http://10.0.0.7/a.mp4"
    assert read(url)[1] == f"{url}: 2 of 3 frames could be read: it is cut short or damaged"
    capture.stated = 2.0
    assert read(url) == ([0, 1], "")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("reads", "stated", "numbers", "is_complete"),
    [
        ("1" * 50, 50, 50, True),
        ("1" * 50, 49, 50, True),  # more than stated
        ("1" * 50, 75, 50, False),  # the last at 49 / 25 = 1.96 s, 75 / 25 - 1 = 2.0 s are needed
        ("1" * 51, 75, 51, True),
        ("1" * 50, 200, 50, False),
        ("1" * 25 + "0" + "1" * 24, 50, 49, False),  # damaged in the middle
    ],
)
def test_formats_that_state_a_duration(capture, tmp_path, reads, stated, numbers, is_complete):
    (tmp_path / "a.webm").touch()
    capture.reads, capture.stated = reads, float(stated)
    found, message = read(tmp_path / "a.webm")
    assert len(found) == numbers
    assert (message == "") is is_complete


def test_a_header_that_states_too_much_does_not_hang(capture, tmp_path):
    (tmp_path / "a.mp4").touch()
    capture.stated = 1e12
    assert read(tmp_path / "a.mp4")[1].endswith(
        ": 2 of 1000000000000 frames could be read: it is cut short or damaged"
    )


def test_frames_over_the_limit_of_images(capture, tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    capture.size_wh = (2.0**14, 2.0**13)
    assert read(path) == ([0, 1], "")
    capture.size_wh = (2.0**14, 2.0**13 + 1)
    with pytest.raises(DetectorError) as caught:
        open_source(path)
    assert str(caught.value) == (f"{path}: has frames of 16384×8193, more than 134217728 pixels")
