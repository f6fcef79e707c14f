"""Listings of folders: held while a folder does not change, and never stale."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats import listing
from detector.data.formats.definition import load_definition
from detector.data.formats.listing import list_folder

LONG_AGO = (1_000_000_000, 1_000_000_000)


def settle(root: Path) -> None:
    """Date the last changes of a folder and of those below it back."""
    os.utime(root, LONG_AGO)
    for name in os.listdir(root):
        if (root / name).is_dir():
            settle(root / name)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each folder is listed, by its name."""
    counts: Counter[str] = Counter()
    scandir = os.scandir

    def count(path: str) -> object:
        counts[Path(path).name] += 1
        return scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    monkeypatch.setattr(listing, "_held", listing._Held())
    return counts


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    assert list_folder(tmp_path) == ((), frozenset(), ())
    with pytest.raises(FileNotFoundError):
        list_folder(tmp_path / "none")


def test_a_folder_is_listed_once(tmp_path: Path, listed: Counter[str]) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/1.txt").touch()
    settle(tmp_path)
    assert [list_folder(tmp_path / "a") for _ in range(3)] == [
        (("b",), frozenset(), ("1.txt",))
    ] * 3
    assert listed == {"a": 1}


def test_a_changed_folder_is_listed_again(tmp_path: Path, listed: Counter[str]) -> None:
    settle(tmp_path)
    assert list_folder(tmp_path).files == ()
    (tmp_path / "1.txt").touch()
    assert list_folder(tmp_path).files == ("1.txt",)
    (tmp_path / "1.txt").unlink()  # maybe within the same step of the clock
    assert list_folder(tmp_path).files == ()
    assert listed.total() == 3


def test_another_folder_of_the_same_path(tmp_path: Path, listed: Counter[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").touch()
    settle(tmp_path)
    assert list_folder(tmp_path / "one").files == ("one.txt",)
    (tmp_path / "one").rename(tmp_path / "old")
    (tmp_path / "two").rename(tmp_path / "one")
    assert list_folder(tmp_path / "one").files == ("two.txt",)


def test_links_are_looked_at_each_time(tmp_path: Path, listed: Counter[str]) -> None:
    target = tmp_path / "target"
    (tmp_path / "links").mkdir()
    (tmp_path / "links/one").symlink_to(target)
    target.touch()
    settle(tmp_path)
    assert list_folder(tmp_path / "links") == ((), frozenset(), ("one",))
    target.unlink()
    target.mkdir()
    assert list_folder(tmp_path / "links") == (("one",), frozenset({"one"}), ())


def test_too_many_names_are_not_held(
    tmp_path: Path, listed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_HELD_NAMES", 2)
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    settle(tmp_path)
    for _ in range(2):
        list_folder(tmp_path / "a")
        list_folder(tmp_path / "b")
    assert listed == {"a": 1, "b": 2}


XML = (
    "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>"
    "<ymax>8</ymax></bndbox></object></annotation>"
)


def voc(root: Path, make_image: Callable[..., Path]) -> None:
    (root / "Annotations").mkdir()
    for number in range(5):
        make_image(f"JPEGImages/{number}.png")
        (root / f"Annotations/{number}.xml").write_text(XML)


def yolo(root: Path, make_image: Callable[..., Path]) -> None:
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("cat\n")
    for number in range(5):
        make_image(f"images/{number}.png")
        (root / f"labels/{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


@pytest.mark.parametrize(
    ("write", "folders"), [(voc, ("JPEGImages", "Annotations")), (yolo, ("images", "labels"))]
)
def test_the_folders_of_a_data_set_are_listed_once(
    write: Callable[..., None],
    folders: tuple[str, ...],
    tmp_path: Path,
    make_image: Callable[..., Path],
    listed: Counter[str],
) -> None:
    write(tmp_path, make_image)
    settle(tmp_path)
    definition = load_definition(tmp_path)
    sizes = [len(open_dataset(definition, split)) for split in ("train", "val")]
    assert sizes == [4, 1]
    assert {name: listed[name] for name in folders} == dict.fromkeys(folders, 1)
