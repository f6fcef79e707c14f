"""Glob patterns equal Python's, except that loops of links end."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from detector.runtime.patterns import matching


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.jpg", "x/b.jpg", "x/y/c.jpg", "z[1]/d.jpg", ".hidden/e.jpg", "x/.f.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere")
    (tmp_path.parent / "elsewhere").mkdir(exist_ok=True)
    (tmp_path.parent / "elsewhere" / "g.jpg").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    ["", "*", "*.jpg", "**/*.jpg", "**/*", "x/**/*.jpg", "**/y/**/*.jpg", "*/**/c.jpg"]
    + ["x/**.jpg", "**/../x/*.jpg", "z[[]1]/**/*"],
)
def test_paths_are_those_of_python(tree: Path, pattern: str) -> None:
    assert matching(pattern) == set(glob.glob(pattern, recursive=True))
    whole = os.path.join(glob.escape(str(tree)), pattern)
    assert matching(whole) == set(glob.glob(whole, recursive=True))


def test_the_end_of_a_pattern_matches_files_in_all_folders(tree: Path) -> None:
    assert {"a.jpg", "x/b.jpg", "x/y/c.jpg", "link/g.jpg"} < matching("**")


def test_loops_of_links_end(tree: Path) -> None:
    """Python would follow two such links 2 ** 40 times."""
    (tree / "x" / "up").symlink_to("..")
    (tree / "x" / "here").symlink_to(".")
    (tree / "also").symlink_to("x/y")
    assert matching("**/*.jpg") == {"a.jpg", "x/b.jpg", "x/y/c.jpg", "z[1]/d.jpg", "link/g.jpg"}
    assert matching("also/**/*.jpg") == {"also/c.jpg"}
