"""A process that measures: its answers, and what is said when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.benchmarks.detect_worker import Configuration
from detector.benchmarks.workers import worker
from detector.utils.errors import DetectorError

MODULE = "detector.benchmarks.detect_worker"
CHATTY = """
import sys
for line in sys.stdin:
    sys.stderr.write("." * 200_000)  # a pipe holds 65,536
    print(1, flush=True)
"""


def configuration(weights: Path, images: Path) -> str:
    return Configuration(
        weights=weights, source=str(images), batch=2, confidence=0.25, threads=1
    ).model_dump_json()


def test_it_measures_when_it_is_asked(finder_pt2: Path, finder_images: Path):
    with worker(MODULE, configuration(finder_pt2, finder_images)) as process:
        assert process.start_seconds > 0
        for _ in range(2):
            run = process.ask()
            assert run["images"] == 5
            assert run["seconds"].keys() == {"decode", "preprocess", "network", "nms"}
            assert 0 < run["seconds"]["network"] < run["wall_seconds"]
            assert run["peak_bytes"] > 10**7


def test_a_process_that_ends_says_why(tmp_path: Path):
    missing = tmp_path / "x.onnx"
    with (
        pytest.raises(DetectorError) as caught,
        worker(MODULE, configuration(missing, tmp_path)),
    ):
        pass
    assert str(caught.value).startswith("a measured process ended: ")
    assert f"{missing}: no such file" in str(caught.value)


def test_what_it_says_beside_its_answers_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "chatty.py").write_text(CHATTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with worker("chatty", "go") as process:
        assert process.ask() == 1
