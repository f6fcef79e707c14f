"""Pairing of files with paths."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from detector.data.formats.pairing import Match, Pairing, path_below, shared_files

SET = Path("set")


@pytest.mark.parametrize(
    ("files", "wanted", "matches"),
    [
        ("", "a", {"a": ((), ())}),
        ("a.xml b.xml", "b", {"b": (("b.xml",), ())}),
        # the same path, then a name that is left over once on both sides
        ("x/0.xml y/0.xml", "x/0 y/0", {"x/0": (("x/0.xml",), ()), "y/0": (("y/0.xml",), ())}),
        ("x/0.xml z/0.xml", "x/0 y/0", {"x/0": (("x/0.xml",), ()), "y/0": (("z/0.xml",), ())}),
        ("x/0.xml", "x/0 y/0", {"x/0": (("x/0.xml",), ()), "y/0": ((), ())}),
        ("marks/0.xml", "pictures/0", {"pictures/0": (("marks/0.xml",), ())}),
        # several files, several paths, both
        ("x/0.xml y/0.xml", "0", {"0": (("x/0.xml", "y/0.xml"), ())}),
        ("0.xml", "x/0 y/0", {"x/0": (("0.xml",), ("y/0",)), "y/0": (("0.xml",), ("x/0",))}),
        ("v/0.xml w/0.xml", "x/0 y/0", {"x/0": (("v/0.xml", "w/0.xml"), ("y/0",))}),
        # two suffixes, a point in a name, a path that is wanted twice
        ("a.jpg a.png", "a", {"a": (("a.jpg",), ())}),
        ("x/a.b.jpg a.c.jpg", "a.b", {"a.b": (("x/a.b.jpg",), ())}),
        ("x/0.xml", "y/0 y/0", {"y/0": (("x/0.xml",), ())}),
    ],
)
def test_matches(files: str, wanted: str, matches: dict[str, tuple]) -> None:
    pairing = Pairing(SET, [SET / name for name in files.split()], wanted.split())
    for path, (found, rivals) in matches.items():
        match = pairing.find(path)
        assert match == Match(tuple(SET / name for name in found), rivals)
        is_clear = len(found) == 1 and not rivals
        assert match.file == (SET / found[0] if is_clear else None)
        assert match.is_ambiguous == (bool(found) and not is_clear)


def test_path_below() -> None:
    assert path_below(Path("/a"), Path("/a/b/c.d.jpg")) == "b/c.d"


def test_a_file_of_images_in_two_folders(tmp_path: Path) -> None:
    file, *images = (tmp_path / name for name in ("0.txt", "a/0.jpg", "b/0.jpg", "a/0.png"))
    file.touch()
    assert shared_files([(image, tmp_path / "none.txt") for image in images]) == {}
    assert shared_files([(images[0], file), (images[2], file)]) == {}
    issues = shared_files([(image, file) for image in images])
    assert [str(issue) for issue in issues.values()] == [
        f"{image}: {file} may be its labels or those of {other}, expected a file for each"
        for image, other in zip(images, (images[1], images[0], images[1]), strict=True)
    ]


def test_a_list_that_repeats_an_image_takes_linear_time(tmp_path: Path) -> None:
    """Quadratic time would be a minute."""
    file = tmp_path / "0.txt"
    file.touch()
    start = time.process_time()
    assert shared_files([(tmp_path / "a" / "0.jpg", file)] * 20_000) == {}
    assert time.process_time() - start < 10
