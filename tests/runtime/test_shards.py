"""Files distributed among processes: each is read once, and the merged parts are complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.runtime.shards import Shard
from detector.runtime.sources import open_source
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image


@given(st.integers(0, 200), st.integers(1, 20))
def test_parts_make_up_the_whole(total, count):
    parts = [Shard(number, count).part(total) for number in range(1, count + 1)]
    assert [index for part in parts for index in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_parse():
    assert Shard.parse("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "2", "2/0", "a/b", "1/4/4", "-1/4"])
def test_no_such_part(text):
    with pytest.raises(DetectorError) as caught:
        Shard.parse(text)
    assert str(caught.value) == f"--shard: expected i/n, from 1/n to n/n, found {text!r}"


def test_what_torchrun_says(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Shard.from_environment() is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Shard.from_environment() is None
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Shard.from_environment() == Shard(1, 3)


def test_merging(tmp_path):
    merged = tmp_path / "lines.jsonl"
    one, two = Shard(1, 2), Shard(2, 2)
    assert one.file(merged).name == "lines.1-of-2.jsonl"
    two.file(merged).write_text("c\n")
    assert not two.merge(merged)
    assert not merged.exists()
    one.file(merged).write_text("a\nb\n")
    assert one.merge(merged)
    assert merged.read_text() == "a\nb\nc\n"
    assert [path.name for path in tmp_path.iterdir()] == ["lines.jsonl"]


def test_a_later_run_has_no_part_of_an_earlier_one(tmp_path):
    merged = tmp_path / "lines.jsonl"
    shards = Shard(1, 2), Shard(2, 2)
    for run in ("first", "second"):
        for shard in shards:
            shard.remove_outputs(merged)
            shard.file(merged).write_text(f"{run} {shard}\n")
            assert shard.merge(merged) is (shard.number == 2)
    assert merged.read_text() == "second 1/2\nsecond 2/2\n"
    shards[0].remove_outputs(merged)
    assert not list(tmp_path.iterdir())


def test_two_that_finish_at_the_same_time(tmp_path, monkeypatch):
    """The second merges, and removes the parts, while the first copies them."""
    merged = tmp_path / "lines.jsonl"
    one, two = Shard(1, 2), Shard(2, 2)
    for shard in (one, two):
        shard.file(merged).write_text(f"{shard}\n")
    copy = shutil.copyfileobj

    def interrupted(lines, target):
        monkeypatch.setattr(shutil, "copyfileobj", copy)
        monkeypatch.setattr("os.getpid", lambda: 1)
        assert two.merge(merged)
        monkeypatch.undo()
        copy(lines, target)

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    assert one.merge(merged)
    assert merged.read_text() == "1/2\n2/2\n"
    assert not one.merge(merged)
    assert [path.name for path in tmp_path.iterdir()] == ["lines.jsonl"]


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """A folder of five images."""
    folder = tmp_path / "five"
    for name in "abcde":
        write_image(folder / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    return folder


@pytest.mark.parametrize("kind", ["folder", "glob", "list"])
def test_sources(kind, five, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"five/{name}.png\n" for name in "abcde"))
    source = {"folder": five, "glob": five / "*.png", "list": listed}[kind]
    parts = [open_source(source, shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert [[frame.name for frame in part] for part in parts] == [["a"], ["b", "c"], ["d", "e"]]
    assert [part.total for part in parts] == [1, 2, 2]
    assert [[Path(name).stem for name in part.earlier] for part in parts] == [
        [],
        ["a"],
        ["a", "b", "c"],
    ]


def test_more_parts_than_files(five):
    parts = [list(open_source(five, shard=Shard(number, 7))) for number in range(1, 8)]
    assert sorted(map(len, parts)) == [0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("source", ["a.png", "0", "rtsp://host/stream"])
def test_a_single_source_cannot_be_shared_out(source, five):
    path = str(five / source) if source.endswith("png") else source
    with pytest.raises(DetectorError) as caught:
        open_source(path, shard=Shard(1, 2))
    assert str(caught.value) == (
        f"--shard 1/2: expected a folder, glob or list of files, found {path!r}"
    )
