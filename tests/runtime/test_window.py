"""The window of ``--show`` on a display without a screen, where Xvfb is installed."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone

import numpy as np
import pytest

from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.runtime.window import MAX_SIDE, WindowWriter
from detector.structures.classification import Classification


@pytest.fixture(scope="module")
def display() -> Iterator[None]:
    """One for all tests: Tk keeps its connection, and ends the process when that is lost."""
    pytest.importorskip("tkinter")
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x480x24"]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as number, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", f":{number.readline().strip()}")
        yield
    atexit.register(server.terminate)


def result(name: str, index: int, size_hw: tuple[int, int], live: bool) -> Result:
    time = datetime.now(timezone.utc) if live else None
    frame = Frame(name, None, index, np.zeros((*size_hw, 3), np.uint8), 25.0, 0.0, time)
    return Result(frame, Classification.of(np.array([0.25, 0.75], np.float32), ("cat", "dog")))


def test_a_window_for_each_camera_until_one_is_closed(display: None):
    stopped: list[bool] = []
    with WindowWriter(lambda: stopped.append(True)) as writer:
        for index in range(3):
            writer.write(result("door", index, (48, 64), live=True))
            writer.write(result("yard", index, (2 * MAX_SIDE, MAX_SIDE), live=True))
        assert set(writer._labels) == {"door", "yard"}
        shown = writer._labels["yard"].image
        assert (shown.height(), shown.width()) == (MAX_SIDE, MAX_SIDE // 2)
        window = writer._labels["door"].master
        assert window.title() == "door: 2"
        window.tk.call(window.protocol("WM_DELETE_WINDOW"))
        assert stopped == [True]
        writer.write(result("gate", 0, (48, 64), live=True))
        assert set(writer._labels) == {"door", "yard"}


def test_one_window_for_files(display: None):
    with WindowWriter(lambda: None) as writer:
        for name in ("a", "b"):
            writer.write(result(name, 0, (48, 64), live=False))
        assert list(writer._labels) == ["detect"]
        assert writer._labels["detect"].master.title() == "b: 0"
