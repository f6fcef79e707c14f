"""The error that people see."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.utils.errors import MAX_LINE, MAX_SHOWN, DetectorError, nearest, one_line, shown


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        (None, None, "what is wrong"),
        (None, 3, "what is wrong"),
        ("a.yaml", None, "a.yaml: what is wrong"),
        ("a.yaml", 3, "a.yaml:3: what is wrong"),
        (Path("b") / "a.yaml", 3, "b/a.yaml:3: what is wrong"),
        ("a\nb\r\nc\u2028d", 3, "a b c d:3: what is wrong"),
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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("", ""),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError(" \n\t\n"), "RuntimeError"),
        (RuntimeError("one"), "one"),
        ("\n  one \t line \n  at kernel.cpp:3\n", "one line"),
        (ValueError("does not fit:\n\n\tsize mismatch\n\tmore"), "does not fit: size mismatch"),
        (ValueError("does not fit:"), "does not fit:"),
        (KeyError("width"), "KeyError: 'width'"),
        (IndexError(), "IndexError"),
        (DetectorError("what is wrong", file="a\nb", line=3), "a b:3: what is wrong"),
        ("x" * MAX_LINE, "x" * MAX_LINE),
        ("x" * (MAX_LINE + 1), "x" * (MAX_LINE - 3) + "..."),
    ],
)
def test_what_another_library_says_on_one_line(error: BaseException | str, expected: str) -> None:
    assert one_line(error) == expected
