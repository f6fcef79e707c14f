"""The error that people see."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.utils.errors import MAX_SHOWN, DetectorError, nearest, shown


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        (None, None, "what is wrong"),
        (None, 3, "what is wrong"),
        ("a.yaml", None, "a.yaml: what is wrong"),
        ("a.yaml", 3, "a.yaml:3: what is wrong"),
        (Path("b") / "a.yaml", 3, "b/a.yaml:3: what is wrong"),
    ],
)
def test_place_stands_before_the_message(
    file: str | Path | None, line: int | None, expected: str
) -> None:
    error = DetectorError("what is wrong", file=file, line=line)
    assert str(error) == expected
    assert error.message == "what is wrong"


@pytest.mark.parametrize(
    ("name", "candidates", "expected"),
    [
        ("epoch", [], ""),
        ("zzz", ["epochs", "batch"], ""),
        ("epoch", ["epochs", "batch"], "; did you mean 'epochs'?"),
        ("CONV", ["Conv", "C3"], "; did you mean 'Conv'?"),
        ("Uppsample", ["nn.Upsample", "Upsample"], "; did you mean 'Upsample'?"),
    ],
)
def test_nearest(name: str, candidates: list[str], expected: str) -> None:
    assert nearest(name, candidates) == expected


def test_shown_is_one_short_line() -> None:
    assert shown([1, "a"]) == "[1, 'a']"
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 1000)) == MAX_SHOWN
    assert shown("x" * 1000).endswith("xxx...")
