"""Python of the pages is run, block after block of a page as a reader types it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import detector
from detector.utils.opencv import cv2
from tests.docs.pages import ROOT, TEXTS, blocks
from tests.runtime.streams.camera_server import Connection, camera_server

FROM_PYTHON = ROOT / "docs" / "python.md"

WITH_OWN_TESTS = {FROM_PYTHON, ROOT / "docs" / "extend.md"}
"""Pages that another test runs: below, and in test_code.py."""

TRAINS = re.compile(r"detector\.(train|cross_validate)\(")
"""Calls that take more than ten seconds, even for one epoch."""


def run_of(page: Path) -> Any:
    """Return a page as a parameter, marked as slow if it trains."""
    is_slow = any(TRAINS.search(block.text) for block in blocks(page, "python"))
    return pytest.param(page, marks=pytest.mark.slow if is_slow else [], id=page.name)


RUN = [run_of(page) for page in TEXTS if page not in WITH_OWN_TESTS and blocks(page, "python")]

SHOWN_FRAMES = 3
"""Frames of the endless loop over cameras."""


def images_of_a_batch(_: Path) -> AbstractContextManager[dict[str, Any]]:
    return nullcontext({"images": torch.rand(1, 3, 64, 64)})


def results_of_ray(work: Path) -> AbstractContextManager[dict[str, Any]]:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    (work / "results").mkdir()
    pandas.DataFrame({"path": ["b.jpg", "a.jpg"]}).to_parquet(work / "results" / "0.parquet")
    return nullcontext({"pandas": pandas})


def clip(work: Path) -> AbstractContextManager[dict[str, Any]]:
    pytest.importorskip("trackers", reason="needs the extra track")
    encoder = cv2.VideoWriter(
        str(work / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (640, 480)
    )
    for x in range(0, 32, 2):
        image = np.full((480, 640, 3), 100, np.uint8)
        image[:16, x : x + 16] = (30, 30, 200)
        encoder.write(image)
    encoder.release()
    return nullcontext({})


@contextmanager
def camera(work: Path) -> Iterator[dict[str, Any]]:
    def door(connection: Connection) -> None:
        connection.answer()
        connection.send(100 * SHOWN_FRAMES)

    stream = detector.Predictor.stream

    def some_frames(*words: Any, **settings: Any) -> Iterator[Any]:
        return islice(stream(*words, **settings), SHOWN_FRAMES)

    with camera_server(door=door) as server, pytest.MonkeyPatch.context() as patch:
        (work / "doors.streams").write_text(server.url("/door") + "\n")
        patch.setattr(detector.Predictor, "stream", some_frames)
        yield {}


GIVEN: dict[str, Callable[[Path], AbstractContextManager[dict[str, Any]]]] = {
    "backbones.md": images_of_a_batch,
    "runtime.md": results_of_ray,
    "streams.md": camera,
    "tracks.md": clip,
}
"""What a page takes for granted: files in the folder, and names."""


@pytest.mark.usefixtures("start_weights", "quick_training")
@pytest.mark.parametrize("page", RUN)
def test_python_of_the_page(page: Path, work: Path) -> None:
    with GIVEN.get(page.name, lambda _: nullcontext({}))(work) as given:
        names: dict[str, Any] = {"detector": detector, **given}
        for block in blocks(page, "python"):
            exec(compile(block.text, str(block), "exec"), names)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_training")
def test_what_the_page_from_python_prints(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks(FROM_PYTHON, "python"):
        exec(compile(block.text, str(block), "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith("red 0.99")
    assert "unknown keyword 'confidance'; did you mean 'confidence'?" in printed
    assert (work / "again.onnx").is_file()
    assert (work / "fused.safetensors").is_file()
    assert (work / "as_coco" / "data.yaml").is_file()
