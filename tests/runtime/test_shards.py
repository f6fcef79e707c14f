"""Files shared out among processes: every one is read once, and the parts make up the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import DetectorError
from detector.opencv import write_image
from detector.runtime.shards import Shard
from detector.runtime.sources import open_source


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
    assert Shard.of_environment() is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Shard.of_environment() is None
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Shard.of_environment() == Shard(1, 3)


def test_merging(tmp_path):
    whole = tmp_path / "lines.jsonl"
    one, two = Shard(1, 2), Shard(2, 2)
    assert one.file(whole).name == "lines.1-of-2.jsonl"
    two.file(whole).write_text("c\n")
    assert not two.merge(whole)
    assert not whole.exists()
    one.file(whole).write_text("a\nb\n")
    assert one.merge(whole)
    assert whole.read_text() == "a\nb\nc\n"
    one.forget(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["lines.2-of-2.jsonl"]


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
