"""Files below folders: links, loops of links, hidden files."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.formats.folders import files_below, folders_in, visible


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """``set`` with images, and ``store`` beside it."""
    for name in ("set/a/1.jpg", "set/a/deep/2.JPG", "set/b/3.png", "store/c/4.jpg", "store/5.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "set"


def found(folder: Path) -> list[str]:
    paths = sorted(files_below(folder, {".jpg", ".png"}))
    return [path.relative_to(folder).as_posix() for path in paths]


PLAIN = ["a/1.jpg", "a/deep/2.JPG", "b/3.png"]


def test_plain_folders_are_as_a_pattern_finds_them(tree: Path) -> None:
    (tree / "a/1.txt").touch()
    assert found(tree) == PLAIN
    paths = sorted(path for path in tree.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    assert sorted(files_below(tree, {".jpg", ".png"})) == paths


def test_nothing_below_no_folder(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path / "none") == []


def test_links_to_folders_are_followed(tree: Path) -> None:
    (tree / "c").symlink_to(tree.parent / "store/c")
    (tree / "a/all").symlink_to("../../store")
    assert found(tree) == ["a/1.jpg", "a/all/5.jpg", "a/deep/2.JPG", "b/3.png", "c/4.jpg"]
    (tree.parent / "link").symlink_to("set")
    assert found(tree.parent / "link") == found(tree)


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "a", "../b", "missing", "loop"])
def test_a_loop_of_links_ends(tree: Path, target: str) -> None:
    """Nor does a link to what is there already, or to a folder around the set, add a file."""
    (tree / "a/loop").symlink_to(target)
    assert found(tree) == PLAIN


def test_two_links_to_each_other(tree: Path) -> None:
    for name, target in (("x", "y"), ("y", "x")):
        (tree.parent / name).mkdir()
        (tree.parent / name / f"{name}.jpg").touch()
        (tree.parent / name / "other").symlink_to(tree.parent / target)
    (tree / "x").symlink_to(tree.parent / "x")
    assert found(tree) == [*PLAIN, "x/other/y.jpg", "x/x.jpg"]


def test_a_folder_goes_by_its_own_path(tree: Path) -> None:
    """A link that comes first by name does not take its files."""
    (tree / "Latest").symlink_to("b")
    assert found(tree) == PLAIN


def test_hidden_files_and_folders_are_left_out(tree: Path) -> None:
    for name in (".ipynb_checkpoints/1-checkpoint.jpg", "a/.thumbs/deep/1.jpg", "a/._1.jpg"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    (tree / ".linked").symlink_to(tree.parent / "store")
    assert found(tree) == PLAIN
    assert sorted(visible(tree, "*/*.jpg")) == [tree / "a/1.jpg"]
    assert found(tree / "a/.thumbs") == ["deep/1.jpg"]  # what is asked for by name


def test_folders_directly_in_a_folder(tree: Path) -> None:
    assert folders_in(tree) == [tree / "a", tree / "b"]
    (tree / "file.jpg").touch()
    (tree / ".hidden").mkdir()
    (tree / "link").symlink_to("../store")
    (tree / "loop").symlink_to("loop")
    (tree / "nowhere").symlink_to("none")
    assert folders_in(tree) == [tree / "a", tree / "b", tree / "link"]
    assert folders_in(tree / "b") == []
    assert folders_in(tree / "none") == []
    assert folders_in(tree / "file.jpg") == []
