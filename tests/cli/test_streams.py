"""``detect`` on cameras: what is written and said, signals, flags that have no effect."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.predict import Predictor
from detector.runtime.video import IncompleteVideoError
from detector.utils.opencv import cv2
from tests.cli.conftest import Ran
from tests.runtime.streams.camera_server import Connection, camera_server

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Ran]


def ten(connection: Connection) -> None:
    """Ten frames over the first connection, and none over others."""
    connection.answer()
    if connection.server.sent[connection.path] < 10:
        connection.send(10)


def endless(connection: Connection) -> None:
    connection.answer()
    connection.send(1 << 30, fps=50)


def lines_of(folder: Path) -> list[dict[str, object]]:
    files = sorted((folder / "detections").iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_camera_that_is_gone(run: Run, finder_onnx: Path, tmp_path: Path):
    """Its frames are written, the loss is said, and the exit code is that of an error."""
    with camera_server(door=ten) as server:
        url = server.url("/door?token=secret", "me:secret@")
        where = ("--weights", finder_onnx, "--source", url, "--output", tmp_path / "out")
        ran = run("detect", *where, "--jsonl", "--give-up", 1)
    public = server.url("/door?***", "***@")
    assert ran.code == 2
    assert ran.out.startswith("10 images: ")
    assert "\n1 incomplete videos\n" in ran.out
    assert re.search(r"^door: 10 of 10 frames; lost \d times$", ran.out, re.MULTILINE)
    warning, *_, error = ran.err.splitlines()
    assert warning == (
        "warning: door: lost after 10 frames: the server has closed the connection; "
        f"connecting again to {public}"
    )
    assert error == (
        f"error: {public}: no frame for 1 s, after 10 frames: the server has closed the "
        "connection; --skip-bad accepts that"
    )
    records = lines_of(tmp_path / "out")
    assert [(record["name"], record["frame"]) for record in records] == [
        ("door", index) for index in range(10)
    ]
    for record in records:
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(record["time"]))
    (video,) = (tmp_path / "out" / "door").iterdir()
    assert re.fullmatch(r"000000_\d{8}T\d{6}Z\.mp4", video.name)
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) == 10
    names = "".join(str(path) for path in (tmp_path / "out").rglob("*"))
    assert "secret" not in f"{ran.out}{ran.err}{names}{records}"


def test_skip_bad_accepts_that(run: Run, finder_onnx: Path, tmp_path: Path):
    with camera_server(door=ten) as server:
        where = ("--weights", finder_onnx, "--source", server.url("/door"), "--no-draw")
        flags = ("--output", tmp_path / "out", "--give-up", 1, "--skip-bad", "--vid-stride", 4)
        ran = run("detect", *where, *flags)
    assert ran.code == 0
    assert ran.metrics["images"] == 3
    assert ran.metrics["streams"]["door"] | {"losses": 0} == {
        "received": 10,
        "used": 3,
        "skipped": 7,
        "dropped": 0,
        "unreadable": 0,
        "losses": 0,
    }
    assert "door: 3 of 10 frames, 7 left out by --vid-stride; lost " in ran.out


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_run(number: int, finder_onnx: Path, tmp_path: Path):
    """What has arrived is used, written and counted; a second camera never answers."""
    with camera_server(door=endless, yard=lambda connection: connection.hold()) as server:
        listed = tmp_path / "two.streams"
        listed.write_text(f"{server.url('/door')}\n{server.url('/yard')}\n")
        words = ["--weights", finder_onnx, "--source", listed, "--output", tmp_path / "out"]
        words += ["--jsonl", "--json", tmp_path / "metrics.json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "detector", "detect", *map(str, words)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while server.sent["/door"] < 50 and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    counts = json.loads((tmp_path / "metrics.json").read_text())["streams"]
    used = counts["door"]["used"]
    assert used >= 40
    assert counts["door"]["received"] == used + counts["door"]["dropped"]
    assert [record["frame"] for record in lines_of(tmp_path / "out")] == list(range(used))
    assert f"\ndoor: {used} of " in out
    assert "\nyard: 0 of 0 frames" in out
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("a.png", ["--latest"], "--latest: only cameras and streams have it; omit it"),
        (
            "",
            ["--give-up", "3", "--segment-minutes", "5"],
            "--give-up, --segment-minutes: only cameras and streams have it; omit them",
        ),
        ("", ["--vid-stride", "2"], "--vid-stride: the source has no video; omit it"),
        ("a.png", ["--vid-stride", "0"], "--vid-stride: "),
        ("a.png", ["--segment-minutes", "inf"], "--segment-minutes: "),
        ("a.png", ["--give-up", "1e9"], "--give-up: "),
    ],
)
def test_flags_without_effect(
    source: str,
    flags: list[str],
    message: str,
    fails: Callable[..., str],
    finder_onnx: Path,
    finder_images: Path,
    tmp_path: Path,
):
    where = ("--weights", finder_onnx, "--source", finder_images / source, "--output", tmp_path)
    found = fails("detect", *where, *flags)
    assert found == message if message.endswith("it") or "omit" in message else message in found


def test_tracks_of_a_camera_have_no_file_of_their_own(
    fails: Callable[..., str], finder_onnx: Path, tmp_path: Path
):
    """Cameras come in turn and have no end: a file for each would be begun again and again."""
    pytest.importorskip("trackers")
    where = ("--weights", finder_onnx, "--source", "rtsp://127.0.0.1:9/x", "--output", tmp_path)
    assert fails("detect", *where, "--track", "bytetrack", "--mot") == (
        "--mot: cameras and streams have no end; --jsonl has the ids, too; omit it"
    )


def test_every_nth_frame_of_a_file(run: Run, finder_onnx: Path, tmp_path: Path):
    """Frames 0, 3, 6, 9 at 9 / 3 frames a second: the written video lasts as long as the other."""
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 9.0, (64, 64))
    for number in range(10):
        writer.write(np.full((64, 64, 3), 20 * number, np.uint8))
    writer.release()
    out = tmp_path / "out"
    where = ("--weights", finder_onnx, "--source", clip, "--output", out)
    ran = run("detect", *where, "--vid-stride", 3, "--jsonl")
    assert ran.metrics["images"] == 4
    records = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == [0, 3, 6, 9]
    assert [record["seconds"] for record in records] == [0, 0.333, 0.667, 1.0]
    assert "time" not in records[0]
    written = cv2.VideoCapture(str(out / "clip.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(3)


def test_from_python(finder_onnx: Path):
    predictor = Predictor(finder_onnx)
    with camera_server(door=ten, yard=endless) as server:
        results = []
        with pytest.raises(IncompleteVideoError, match="no frame for 0.5 s, after 10 frames"):
            results.extend(predictor.stream(server.url("/door"), give_up=0.5))
        assert [result.frame.index for result in results] == list(range(10))
        assert all(result.frame.time is not None for result in results)
        stream = predictor.stream(server.url("/yard"), latest=True)
        assert next(stream).frame.index == 0
        assert next(iter(predictor(server.url("/yard")))).names == ("red", "green")
        stream.close()
        end = time.monotonic() + 5
        while (names := _threads() & {"yard", "alarm"}) and time.monotonic() < end:
            time.sleep(0.05)
        assert names == set()


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_no_display(fails: Callable[..., str], finder_onnx: Path, finder_images: Path, monkeypatch):
    pytest.importorskip("tkinter")
    if os.name == "nt":
        pytest.skip("Windows has a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    where = ("--weights", finder_onnx, "--source", finder_images, "--no-draw")
    assert fails("detect", *where, "--show") == (
        "--show: there is no display (no display name and no $DISPLAY environment variable); omit "
        "--show on a machine without a screen"
    )
