"""Outputs take the memory of earlier ones, but only if nobody holds these any more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import OpenVinoBackend
from tests.runtime.conftest import BOXES, SCORES


@pytest.fixture(params=["onnx", "openvino"])
def backend(request: pytest.FixtureRequest) -> ExportedBackend:
    make: Callable[..., Path] = request.getfixturevalue(f"make_{request.param}")
    path = make(size=("height", "width"))
    if request.param == "onnx":
        return OnnxBackend(path, threads=2)
    return OpenVinoBackend(path, threads=2, streams=2)


def image(level: float, batch: int = 1, width: int = 64) -> np.ndarray:
    return np.full((batch, 3, 32, width), level, np.float32)


def test_outputs_that_are_held_do_not_change(backend: ExportedBackend):
    held = [backend(image(level))[1][0] for level in (0.5, 0.25, 1.0, 0.0)]
    for level, scores in zip((0.5, 0.25, 1.0, 0.0), held, strict=True):
        assert scores == pytest.approx(SCORES * level, abs=1e-5)


def test_memory_is_used_again(backend: ExportedBackend):
    places = {backend(image(1))[0].__array_interface__["data"][0] for _ in range(20)}
    assert len(places) <= 6  # of the first call, and of two outputs for each of two streams


def test_other_sizes_and_batches(backend: ExportedBackend):
    for batch, width in ((1, 64), (2, 64), (1, 96), (2, 64), (1, 64), (3, 32)):
        boxes, scores = backend(image(0.5, batch, width))
        assert np.array_equal(boxes, np.stack([BOXES] * batch))
        assert scores == pytest.approx(np.stack([SCORES / 2] * batch), abs=1e-6)


def test_runs_in_threads_do_not_share_memory(backend: ExportedBackend):
    levels = np.linspace(0, 1, 64)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda level: backend(image(level))[1][0], levels))
    for level, scores in zip(levels, found, strict=True):
        assert scores == pytest.approx(SCORES * level, abs=1e-5)
