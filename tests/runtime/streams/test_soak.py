"""Two bad cameras for half an hour: frames are counted, memory stays flat.

``REPDET_SOAK_MINUTES=30 python -m pytest -m slow -n 0 -s tests/runtime/streams/test_soak.py``; two
minutes where the variable is not set.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from detector.utils.opencv import cv2
from tests.runtime.streams.camera_server import Connection, camera_server

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[3]
MINUTES = float(os.environ.get("REPDET_SOAK_MINUTES", "2"))

DROP_SECONDS = 20
FPS = 25
SAMPLE_SECONDS = 5.0

MAX_GROWTH = 1.05
"""Largest ratio of memory in the last third to that in the second: the first third warms up."""


finishing = Event()
"""Set before the end: no frame is sent any more, so that those that were can arrive."""


def send(connection: Connection, seconds: int) -> None:
    connection.answer()
    for _ in range(seconds * FPS):
        if finishing.is_set():
            connection.hold()
            return
        connection.send(1, FPS)


def dropping(connection: Connection) -> None:
    """Frames for some seconds, then the end of the connection."""
    send(connection, DROP_SECONDS)


def garbage(connection: Connection) -> None:
    """Frames for some seconds, then 16 MB of noise."""
    send(connection, DROP_SECONDS // 2)
    noise = random.Random(0).randbytes(1 << 16)
    for _ in range(256):
        connection.write(noise)


def resident_bytes(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_two_bad_cameras(finder_onnx: Path, tmp_path: Path):
    with camera_server(dropping=dropping, garbage=garbage) as server:
        listed = tmp_path / "two.streams"
        listed.write_text(f"{server.url('/dropping')}\n{server.url('/garbage')}\n")
        words = ["--weights", finder_onnx, "--source", listed, "--output", tmp_path / "out"]
        words += ["--jsonl", "--segment-minutes", "0.5", "--threads", "1"]
        words += ["--json", tmp_path / "metrics.json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "detector", "detect", *map(str, words)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        memory = []
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end and process.poll() is None:
            time.sleep(SAMPLE_SECONDS)
            memory.append(resident_bytes(process.pid))
        finishing.set()
        time.sleep(SAMPLE_SECONDS)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    counts = json.loads((tmp_path / "metrics.json").read_text())["streams"]
    third = len(memory) // 3
    growth = max(memory[2 * third :]) / max(memory[third : 2 * third])
    back = [float(text) for text in re.findall(r"arrive again after ([\d.]+) s", errors)]
    print(f"\n{MINUTES:g} minutes: {memory[0] / 1e6:.0f} MB at first, then", end=" ")
    print(
        f"{max(memory[third : 2 * third]) / 1e6:.0f} and {max(memory[2 * third :]) / 1e6:.0f} MB;"
    )
    print(f"{len(back)} losses, the longest {max(back)} s; {dict(server.sent)} sent, {counts}")
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "out" / "detections").iterdir())
        for line in path.read_text().splitlines()
    ]
    for name, count in counts.items():
        assert count["received"] == count["used"] == server.sent[f"/{name}"]
        assert [line["frame"] for line in lines if line["name"] == name] == list(
            range(count["used"])
        )
        videos = sorted((tmp_path / "out" / name).iterdir())
        assert sum(_frames(path) for path in videos) == count["used"]
    assert max(back) < 5
    assert growth <= MAX_GROWTH


def _frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
