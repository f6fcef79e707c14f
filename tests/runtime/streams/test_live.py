"""Cameras that fail in every way: frames are counted, connections made anew, errors are said."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame, Source, open_source
from detector.runtime.streams import camera, connection, frame_queue, http_answer
from detector.runtime.video import IncompleteVideoError
from detector.settings.nms import NmsSettings
from detector.settings.streams import StreamSettings
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2
from tests.runtime.conftest import FakeBackend
from tests.runtime.streams.camera_server import (
    CameraServer,
    Connection,
    camera_server,
    jpeg,
    number_of,
    part,
)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second in place of ten until a silent connection is given up, and short waits."""
    monkeypatch.setattr(http_answer, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(camera, "FIRST_WAIT_SECONDS", 0.05)


def opened(server: CameraServer, path: str, **settings: object) -> Source:
    return open_source(server.url(path), streams=StreamSettings(**{"give_up": 3.0, **settings}))


def take(source: Source, count: int) -> list[Frame]:
    """The first frames, after which the source is stopped."""
    frames = list(islice(source, count))
    assert len(frames) == count
    return frames


def error_of(source: Source) -> str:
    with pytest.raises(IncompleteVideoError) as caught:
        list(source)
    return str(caught.value)


def good(connection: Connection) -> None:
    connection.answer()
    connection.send(1 << 30)


def ten(connection: Connection) -> None:
    connection.answer()
    connection.send(10)


# ---------------------------------------------------------------------------- frames and times


def test_frames_are_those_sent_with_their_times():
    def twenty(connection: Connection) -> None:
        connection.answer()
        connection.send(20, fps=20)
        connection.hold()

    with camera_server(door=twenty) as server:
        source = opened(server, "/door")
        before = time.time()
        frames = take(source, 20)
    assert [number_of(frame.image_rgb) for frame in frames] == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert {(frame.name, frame.path, frame.fps, frame.dropped) for frame in frames} == {
        ("door", None, 30.0, 0)
    }
    seconds = [frame.seconds for frame in frames]
    assert seconds[0] == 0
    assert seconds == sorted(seconds)
    assert seconds[-1] >= 19 / 20 - 0.05
    stamps = [frame.time.timestamp() for frame in frames]
    assert before - 0.01 <= stamps[0] <= stamps[-1] <= time.time() + 0.01
    assert np.allclose(np.diff(stamps), np.diff(seconds), atol=0.02)


@pytest.mark.parametrize("length", [True, False])
def test_a_camera_that_drops_the_connection(length: bool, caplog):
    """Without lengths, the last part of a connection has no end, and is not a frame."""

    def dropping(connection: Connection) -> None:
        connection.answer()
        connection.send(10, length=length)
        time.sleep(0.1)

    complete = 10 if length else 9
    with camera_server(door=dropping) as server, caplog.at_level(logging.WARNING):
        source = opened(server, "/door")
        frames = take(source, 3 * complete)
        counts = source.live.counts["door"]
    expected = [number for number in range(30) if length or number % 10 != 9]
    assert [number_of(frame.image_rgb) for frame in frames] == expected
    assert counts.received == counts.used == 3 * complete
    closed = "the server has closed the connection; connecting again to " + server.url("/door")
    assert [line.partition(" after 0")[0] for line in caplog.messages][:4] == [
        f"door: lost after {complete} frames: {closed}",
        "door: frames arrive again",
        f"door: lost after {2 * complete} frames: {closed}",
        "door: frames arrive again",
    ]


def test_every_nth_frame():
    with camera_server(door=good) as server:
        source = opened(server, "/door", vid_stride=3)
        frames = take(source, 5)
        counts = source.live.counts["door"]
    assert [number_of(frame.image_rgb) for frame in frames] == [0, 3, 6, 9, 12]
    assert [frame.index for frame in frames] == [0, 3, 6, 9, 12]
    assert frames[0].fps == 10
    assert counts.received == counts.used + counts.skipped + counts.dropped


def test_the_latest_frame_while_the_network_is_behind():
    with camera_server(door=good) as server:
        source = opened(server, "/door", latest=True)
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.1)  # about ten frames
            if len(frames) == 5:
                source.stop()
        counts = source.live.counts["door"]
    for before, frame in zip(frames, frames[1:], strict=False):
        assert frame.index == before.index + 1 + frame.dropped
    assert sum(frame.dropped for frame in frames) >= 10
    assert counts.received == counts.used + counts.dropped
    assert counts.used == len(frames)


def test_without_latest_the_camera_waits(monkeypatch, caplog):
    monkeypatch.setattr(camera, "BEHIND_FRAMES", 5)
    with camera_server(door=good) as server, caplog.at_level(logging.WARNING):
        source = opened(server, "/door")
        frames = []
        for frame in source:
            frames.append(frame.index)
            assert len(source.live._cameras[0].queue._frames) <= frame_queue.QUEUED_FRAMES
            time.sleep(0.03)
            if len(frames) == 20:
                source.stop()
    assert frames == list(range(len(frames)))
    assert caplog.messages == [
        "door: frames come faster than they are used and wait; --latest drops them instead"
    ]


def test_a_frame_that_is_no_image_is_counted():
    def some(connection: Connection) -> None:
        connection.answer()
        for number in range(10):
            connection.write(part(jpeg(number) if number % 4 else b"no image"))
        connection.hold()

    with camera_server(door=some) as server:
        source = opened(server, "/door")
        frames = take(source, 7)
        counts = source.live.counts["door"]
    assert [frame.index for frame in frames] == [1, 2, 3, 5, 6, 7, 9]
    assert (counts.received, counts.used, counts.unreadable) == (10, 7, 3)


def test_a_camera_that_sends_no_image_at_all(monkeypatch):
    monkeypatch.setattr(connection, "MAX_UNREADABLE", 5)

    def none(connection: Connection) -> None:
        connection.answer()
        connection.repeat(part(b"no image"), 1e5)

    with camera_server(door=none) as server:
        message = error_of(opened(server, "/door", give_up=0.5))
    assert message.startswith(f"{server.url('/door')}: no frame for 0.5 s, after ")
    assert message.endswith(
        " frames: 5 frames in a row cannot be decoded: is not an image that OpenCV can decode"
    )


def test_frames_that_change_their_size():
    def changing(connection: Connection) -> None:
        connection.answer()
        for number in range(10):
            connection.write(part(jpeg(number, (64, 64) if number < 5 else (96, 128))))
        connection.hold()

    with camera_server(door=changing) as server:
        frames = take(opened(server, "/door"), 10)
    assert [frame.image_rgb.shape[:2] for frame in frames] == [(64, 64)] * 5 + [(96, 128)] * 5
    assert [number_of(frame.image_rgb) for frame in frames] == list(range(10))


def test_an_image_at_a_url_is_one_image():
    def snapshot(connection: Connection) -> None:
        connection.answer("image/jpeg")
        connection.write(jpeg(5))

    with camera_server(**{"snapshot.cgi": snapshot, "a.jpg": snapshot}) as server:
        for path, name in (("/snapshot.cgi", "snapshot"), ("/a.jpg", "a")):
            (frame,) = opened(server, path)
            assert number_of(frame.image_rgb) == 5
            assert (frame.name, frame.fps, frame.seconds, frame.time) == (name, None, None, None)


def video(path: Path, frames: int) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()
    return path.read_bytes()


def test_a_video_at_a_url_is_read_to_its_end(tmp_path):
    data = video(tmp_path / "a.mp4", 12)

    def clip(connection: Connection) -> None:
        length = b"Content-Type: video/mp4\r\nContent-Length: %d\r\n\r\n" % len(data)
        connection.write(b"HTTP/1.0 200 OK\r\n" + length + data)

    with camera_server(**{"a.mp4": clip}) as server:
        source = opened(server, "/a.mp4", vid_stride=2, latest=True)
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 2, 4, 6, 8, 10]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert {frame.time for frame in frames} == {None}


def test_a_stream_that_opencv_reads_is_kept_alive(tmp_path):
    data = video(tmp_path / "a.ts", 30)

    def stream(connection: Connection) -> None:
        connection.answer("video/mp2t")
        connection.write(data)

    with camera_server(door=stream) as server:
        source = opened(server, "/door")
        frames = take(source, 75)
        counts = source.live.counts["door"]
    assert {frame.image_rgb.shape for frame in frames} == {(48, 64, 3)}
    assert all(frame.time is not None for frame in frames)
    assert counts.losses >= 2


@pytest.fixture
def devices(monkeypatch) -> list[tuple[object, ...]]:
    """Cameras of three frames; the value is how they were opened."""
    opened: list[tuple[object, ...]] = []

    class Device:
        def __init__(self, *how: object) -> None:
            opened.append(how)
            self.left = 3

        def isOpened(self):  # noqa: N802
            return True

        def get(self, what):
            return {cv2.CAP_PROP_FPS: 12.5, cv2.CAP_PROP_FRAME_COUNT: -1.0}.get(what, 4.0)

        def read(self):
            self.left -= 1
            return self.left >= 0, np.zeros((4, 4, 3), np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Device)
    return opened


def test_a_camera_that_is_plugged_out(devices, caplog):
    with caplog.at_level(logging.WARNING):
        frames = take(open_source("0", streams=StreamSettings(vid_stride=2)), 4)
    assert devices[:2] == [(0,), (0,)]
    assert [(frame.name, frame.index, frame.fps) for frame in frames] == [
        ("camera0", index, 6.25) for index in (0, 2, 4, 6)
    ]
    assert caplog.messages[0] == (
        "camera0: lost after 3 frames: the stream has ended; connecting again to camera 0"
    )


def test_a_device(devices, monkeypatch):
    status = os.stat("/dev/zero")
    monkeypatch.setattr(Path, "stat", lambda self, **_: status)
    take(open_source("/dev/video2", streams=StreamSettings()), 2)
    assert devices[0] == ("/dev/video2", cv2.CAP_V4L2)


# -------------------------------------------------------------------------------------- failures


def silent(connection: Connection) -> None:
    connection.hold()


def stalled(connection: Connection) -> None:
    connection.answer()
    connection.send(3)
    connection.hold()


def slow(connection: Connection) -> None:
    """A byte now and then, which would begin a socket's timeout anew."""
    connection.answer()
    while not connection.server.stopped.wait(0.2):
        connection.write(b"x")


def garbage(connection: Connection) -> None:
    connection.answer()
    connection.repeat(random.Random(0).randbytes(1 << 14))


def endless_header(connection: Connection) -> None:
    connection.write(b"HTTP/1.0 200 OK\r\n")
    connection.repeat(b"X-A: " + b"b" * 1000 + b"\r\n")


def endless_line(connection: Connection) -> None:
    connection.repeat(b"x" * 1000)


def endless_continue(connection: Connection) -> None:
    connection.repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 1e5)


def endless_part_header(connection: Connection) -> None:
    connection.answer()
    connection.write(b"--frame\r\n")
    connection.repeat(b"X-A: " + b"b" * 1000 + b"\r\n")


def huge_frame(connection: Connection) -> None:
    connection.answer()
    connection.write(b"--frame\r\nContent-Length: 99999999999\r\n\r\n")
    connection.repeat(bytes(1 << 16))


def denied(connection: Connection) -> None:
    connection.write(b"HTTP/1.0 401 \x1b[31mNo\r\n\r\n")


def page(connection: Connection) -> None:
    connection.answer("text/html")
    connection.write(b"<html>")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (silent, "the server has sent no frame for 1 s"),
        (slow, "the server has sent no frame for 1 s"),
        (garbage, "MJPEG"),
        (endless_header, "got more than 100 headers"),
        (endless_line, "got more than 65536 bytes when reading status line"),
        (endless_continue, "the server has sent no frame for 1 s"),
        (endless_part_header, "a frame has more than 64 header lines"),
        (huge_frame, "a frame states a length of '99999999999', expected 1 to 33554432 bytes"),
        (denied, "HTTP 401 No"),
        (page, "cannot be opened by OpenCV"),
    ],
)
def test_a_camera_that_fails(behaviour: Callable[[Connection], None], reason: str):
    """It is said why; it does not hang, and is asked again until the run is given up."""
    began = time.monotonic()
    with camera_server(door=behaviour) as server:
        source = open_source(
            server.url("/door?token=secret", user="me:secret@"),
            streams=StreamSettings(give_up=1.5),
        )
        message = error_of(source)
        counts = source.live.counts["door"]
    place = server.url("/door?***", user="***@")
    assert message.startswith(f"{place}: no frame for 1.5 s, after ")
    assert message.endswith(reason)
    assert (counts.received, counts.used) == (0, 0)
    assert counts.losses >= 1
    assert time.monotonic() - began < 12


def test_a_camera_that_stalls(caplog):
    with camera_server(door=stalled) as server, caplog.at_level(logging.WARNING):
        frames = take(opened(server, "/door"), 7)
    assert [number_of(frame.image_rgb) for frame in frames] == list(range(7))
    again = f"the server has sent no frame for 1 s; connecting again to {server.url('/door')}"
    assert [line for line in caplog.messages if " lost " in line] == [
        f"door: lost after {count} frames: {again}" for count in (3, 6)
    ]


def test_a_server_that_is_not_there():
    source = open_source("http://127.0.0.1:9/door", streams=StreamSettings(give_up=0.5))
    assert error_of(source) == (
        "http://127.0.0.1:9/door: no frame for 0.5 s, after 0 frames: Connection refused"
    )
    source = open_source("rtsp://me:secret@127.0.0.1:9/door", streams=StreamSettings(give_up=0.5))
    assert error_of(source) == (
        "rtsp://***@127.0.0.1:9/door: no frame for 0.5 s, after 0 frames: "
        "cannot be opened by OpenCV"
    )


def test_a_dead_camera_does_not_stop_the_others(tmp_path, caplog):
    with camera_server(door=good, yard=silent, gate=ten) as server:
        listed = tmp_path / "all.streams"
        urls = [server.url(path) for path in ("/door", "/yard", "/gate", "/none")]
        listed.write_text("\n".join(urls))
        source = open_source(listed, streams=StreamSettings(give_up=3))
        names = [frame.name for frame in islice(source, 100)]
    assert set(names) == {"door", "gate"}
    assert names.count("gate") >= 20  # two connections at least


def test_all_cameras_are_dead(tmp_path):
    with camera_server(yard=silent, gate=denied) as server:
        listed = tmp_path / "all.streams"
        listed.write_text(f"{server.url('/yard')}\n{server.url('/gate')}\n")
        message = error_of(open_source(listed, streams=StreamSettings(give_up=1.5)))
    assert message == (
        "2 of 2 streams: no frame for 1.5 s, after 0 frames (yard: the server has sent no frame "
        "for 1 s; gate: HTTP 401 No)"
    )


def test_waits_grow_and_begin_anew_after_a_good_connection(monkeypatch):
    """Connections without a frame after at least 0.1, 0.2, 0.4 s, then 0.8 s."""
    monkeypatch.setattr(camera, "FIRST_WAIT_SECONDS", 0.1)
    with camera_server(door=denied) as server:
        error_of(opened(server, "/door", give_up=1.4))
        gaps = np.diff(server.connections["/door"])
    assert (gaps[:3] >= [0.095, 0.195, 0.395]).all()
    assert len(gaps) == 3

    def longer(connection: Connection) -> None:  # than the wait before
        connection.answer()
        connection.send(20)

    with camera_server(door=longer) as server:
        take(opened(server, "/door"), 65)
        gaps = np.diff(server.connections["/door"])
    # 20 frames in 0.2 s and the first wait again; without that the third wait would be 0.4 s.
    assert min(gaps[2:]) < 0.2 + 0.1 + 0.25


# ------------------------------------------------------------------------ redirects and passwords


def redirecting(place: str) -> Callable[[Connection], None]:
    def redirect(connection: Connection) -> None:
        connection.write(f"HTTP/1.0 302 Found\r\nLocation: {place}\r\n\r\n".encode())

    return redirect


def test_a_redirect_on_the_same_server_is_followed_with_the_password():
    with camera_server(door=redirecting("/yard?a=1"), yard=good) as server:
        source = open_source(
            server.url("/door", "me:sec%40ret@"), streams=StreamSettings(give_up=3)
        )
        (frame,) = take(source, 1)
        headers = server.headers["/yard"]
    assert frame.name == "door"
    assert headers["Authorization"] == "Basic bWU6c2VjQHJldA=="  # base64 of me:sec@ret


def test_a_redirect_to_another_server_is_refused():
    with camera_server(yard=good) as other:
        place = other.url("/yard?token=secret")
        with camera_server(door=redirecting(place), loop=redirecting("/loop")) as server:
            message = error_of(opened(server, "/door", give_up=0.5))
            again = error_of(opened(server, "/loop", give_up=0.5))
        assert other.connections == {}
    assert message.endswith(
        f"is redirected to '{other.url('/yard?***')}', another server; give that URL to read it"
    )
    assert again.endswith("more than 5 redirects in a row")


def test_passwords_are_in_no_message(caplog):
    def behave(connection: Connection) -> None:
        connection.answer()
        connection.send(2)

    with camera_server(door=behave) as server, caplog.at_level(logging.DEBUG):
        url = server.url("/door?token=secret", user="me:secret@")
        frames = take(open_source(url, streams=StreamSettings(give_up=3)), 5)
    assert len(caplog.messages) >= 4
    losses = [line for line in caplog.messages if " lost " in line]
    assert all(line.endswith(f" to http://***@{server.place}/door?***") for line in losses)
    assert "secret" not in f"{caplog.messages}{[frame.name for frame in frames]}"


# -------------------------------------------------------------------------------------- the ends


def test_ending_early_ends_the_threads():
    def running() -> set[str]:
        return {thread.name for thread in threading.enumerate()} & {"door", "alarm"}

    with camera_server(door=stalled) as server:
        frames = iter(opened(server, "/door"))
        next(frames)
        assert running() == {"door", "alarm"}
        frames.close()
        end = time.monotonic() + 5
        while running() and time.monotonic() < end:
            time.sleep(0.05)
        assert running() == set()


def test_a_pipeline_that_waits_for_a_camera_can_be_closed(monkeypatch):
    """The reader waits for the fourth frame, which never comes."""
    monkeypatch.setattr(http_answer, "ANSWER_SECONDS", 60.0)
    with camera_server(door=stalled) as server:
        source = opened(server, "/door", give_up=60)
        results = Pipeline(FakeBackend(), NmsSettings())(source)
        assert [next(results).frame.index for _ in range(3)] == [0, 1, 2]
        began = time.monotonic()
        results.close()
        assert time.monotonic() - began < 5


def test_a_stopped_source_gives_the_frames_that_wait():
    with camera_server(door=stalled) as server:
        source = opened(server, "/door")
        frames = iter(source)
        next(frames)
        time.sleep(0.5)  # the other two wait
        source.stop()
        assert [frame.index for frame in frames] == [1, 2]
        counts = source.live.counts["door"]
    assert (counts.received, counts.used, counts.losses) == (3, 3, 0)


def test_errors_go_to_on_bad():
    errors: list[DetectorError] = []
    with camera_server(door=ten) as server:
        settings = StreamSettings(give_up=0.3)
        assert list(open_source(server.url("/none"), errors.append, streams=settings)) == []
    assert [str(error) for error in errors] == [
        f"{server.url('/none')}: no frame for 0.3 s, after 0 frames: HTTP 404 Not Found"
    ]
