"""Results of cameras in segments: names and numbers, lengths, what is left after a failure."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from detector.runtime import writers
from detector.runtime.pipeline import Result
from detector.runtime.segments import JsonSegmentWriter, SegmentWriter
from detector.runtime.sources import Frame
from detector.runtime.video import count_readable_frames
from detector.runtime.writers import ResultNames, YoloTxtWriter
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError

START = datetime(2026, 11, 30, 19, 46, 48, 123456, timezone.utc)
EMPTY = Detections(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat",)
)


def result(index: int, seconds: float, name: str = "door", size_hw=(32, 48)) -> Result:
    image_rgb = np.zeros((*size_hw, 3), np.uint8)
    time = START + timedelta(seconds=seconds)
    return Result(Frame(name, None, index, image_rgb, 10.0, seconds, time, dropped=index), EMPTY)


def segment_writer(folder: Path) -> SegmentWriter:
    return SegmentWriter(folder, 1.0, ResultNames())


def lengths(folder: Path) -> dict[str, int]:
    return {path.name: count_readable_frames(path) for path in sorted(folder.iterdir())}


def test_a_segment_ends_after_its_time(tmp_path):
    with segment_writer(tmp_path) as writer:
        for index, seconds in enumerate([0, 30, 59.9, 60, 61, 200, 190]):  # a clock set back
            writer.write(result(index, seconds))
    assert lengths(tmp_path / "door") == {
        "000000_20261130T194648Z.mp4": 3,
        "000001_20261130T194748Z.mp4": 2,
        "000002_20261130T195008Z.mp4": 1,  # 19:46:48 + 200 s
        "000003_20261130T194958Z.mp4": 1,
    }


def test_another_size_begins_a_segment(tmp_path):
    with segment_writer(tmp_path) as writer:
        for index in range(6):
            writer.write(result(index, index, size_hw=(32, 48) if index < 4 else (64, 64)))
    assert list(lengths(tmp_path / "door").values()) == [4, 2]


def test_cameras_come_in_turn(tmp_path):
    with segment_writer(tmp_path) as writer:
        for index in range(5):
            writer.write(result(index, index))
            writer.write(result(index, index, "yard"))
    for name in ("door", "yard"):
        assert lengths(tmp_path / name) == {"000000_20261130T194648Z.mp4": 5}


def test_labels_of_cameras_that_come_in_turn(tmp_path):
    with YoloTxtWriter(tmp_path) as writer:
        for index in range(2):
            writer.write(result(index, index))
            writer.write(result(index, index, "yard"))
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")}
    assert found == {"door/000000.txt", "door/000001.txt", "yard/000000.txt", "yard/000001.txt"}


def test_numbers_go_on_from_those_that_are_there(tmp_path):
    for start in (0, 1000):
        with segment_writer(tmp_path) as writer:
            writer.write(result(0, start))
            writer.write(result(1, start + 60))
    assert [name[:6] for name in lengths(tmp_path / "door")] == [
        "000000",
        "000001",
        "000002",
        "000003",
    ]


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "door").mkdir()
    leftover = tmp_path / "door" / ".000007_20261130T194648Z.999999999.tmp.mp4"
    other = tmp_path / "door" / "notes.mp4"
    leftover.touch()
    other.touch()
    with segment_writer(tmp_path) as writer:
        writer.write(result(0, 0))
    assert sorted(path.name for path in (tmp_path / "door").iterdir()) == [
        "000000_20261130T194648Z.mp4",
        "notes.mp4",
    ]


def test_a_failed_run_keeps_complete_segments(tmp_path):
    writer = segment_writer(tmp_path).__enter__()
    for index, seconds in enumerate([0, 1, 60]):
        writer.write(result(index, seconds))
    writer.__exit__(ValueError, ValueError(), None)
    assert lengths(tmp_path / "door") == {"000000_20261130T194648Z.mp4": 2}


def test_an_incomplete_segment_is_said_and_the_others_are_kept(tmp_path, monkeypatch):
    def count(path: Path) -> int:
        return 0 if "door" in str(path) else count_readable_frames(path)

    monkeypatch.setattr(writers, "count_readable_frames", count)
    writer = segment_writer(tmp_path)
    writer.write(result(0, 0))
    writer.write(result(0, 0, "yard"))
    with pytest.raises(DetectorError) as caught:
        writer.__exit__(None, None, None)
    path = tmp_path / "door" / "000000_20261130T194648Z.mp4"
    assert str(caught.value) == (
        f"{path}: cannot be written: 0 of 1 frames can be read from it; the disk may be full"
    )
    assert lengths(tmp_path / "door") == {}
    assert list(lengths(tmp_path / "yard").values()) == [1]


def test_json_lines_in_segments(tmp_path):
    with JsonSegmentWriter(tmp_path, 1.0) as writer:
        for index, seconds in enumerate([0, 59, 60]):
            writer.write(result(index, seconds))
            assert len(list(tmp_path.glob("0*.jsonl"))) == (index == 2)
    first, second = sorted(tmp_path.iterdir())
    assert first.name == "000000_20261130T194648Z.jsonl"
    assert second.name == "000001_20261130T194748Z.jsonl"
    (line,) = second.read_text().splitlines()
    record = json.loads(line)
    assert list(record)[:7] == ["name", "path", "size_hw", "frame", "seconds", "time", "dropped"]
    assert list(record.values())[:7] == [
        "door",
        None,
        [32, 48],
        2,
        60.0,
        "2026-11-30T19:47:48.123Z",
        2,
    ]
    assert len(first.read_text().splitlines()) == 2


def test_no_result_is_no_file(tmp_path):
    with segment_writer(tmp_path), JsonSegmentWriter(tmp_path / "lines", 1.0):
        pass
    assert list(tmp_path.iterdir()) == []
