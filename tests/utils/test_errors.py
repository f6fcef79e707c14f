"""The error that people see."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from detector.utils.errors import (
    MAX_ERROR_LINE,
    MAX_LINE,
    MAX_SHOWN,
    DetectorError,
    hide_secrets,
    nearest,
    one_line,
    public_url,
    shown,
)


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
        ("\x1b[96mfailed\x1b[0m \x1b]0;title\x07to \x1b[1;31mconvert\x1b[K", "failed to convert"),
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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://10.0.0.7:554/live/door.sdp", "rtsp://10.0.0.7:554/live/door.sdp"),
        ("rtsp://me:secret@10.0.0.7/door", "rtsp://***@10.0.0.7/door"),
        ("rtsp://me:se@cr/et:?#@10.0.0.7/door", "rtsp://***@10.0.0.7/door"),
        ("https://secret@host/a.jpg", "https://***@host/a.jpg"),
        ("https://host/a.jpg?size=3&token=secret", "https://host/a.jpg?***"),
        ("https://host/a.jpg#token=secret", "https://host/a.jpg#***"),
        ("rtsp://host/user=me_password=secret_channel=1", "rtsp://host/user=***"),
        ("https:/me:secret@host/a.jpg", "https:/***@host/a.jpg"),
        ("C:/photos/a=b.jpg", "C:/photos/a=b.jpg"),
        ("photos/me@home?.jpg", "photos/me@home?.jpg"),
    ],
)
def test_a_url_without_its_secrets(url: str, expected: str) -> None:
    assert public_url(url) == expected
    assert hide_secrets(f"found {url!r}, expected a file") == f"found {expected!r}, expected a file"
    assert str(DetectorError("is wrong", file=url, line=3)) == f"{expected}:3: is wrong"
    assert str(DetectorError(f"{url} is wrong")) == f"{expected} is wrong"
    assert one_line(RuntimeError(f"open {url} failed")) == f"open {expected} failed"


def test_a_password_with_a_space() -> None:
    error = DetectorError("is wrong", file="rtsp://me:my secret@host/door")
    assert str(error) == "rtsp://***@host/door: is wrong"


def test_a_long_url_is_cut_only_after_its_password_is_hidden() -> None:
    assert shown("rtsp://me:" + "secret" * 20 + "@host/door") == "'rtsp://***@host/door'"


def test_a_long_word_is_shown_at_once() -> None:
    """A search that grew with the square of the length would take hours here."""
    assert shown("P" * 1_000_000) == f"'{'P' * 56}..."
    assert hide_secrets(f"{'a' * 100}rtsp://me:secret@host") == f"{'a' * 100}rtsp://***@host"


@pytest.mark.parametrize("text", ["x" * 500_000, "a." * 250_000 + ":/", "http://" * 50_000])
def test_secrets_of_a_long_text_are_looked_for_in_linear_time(text: str) -> None:
    """Quadratic time would be hours."""
    start = time.process_time()
    assert hide_secrets(f"{text} rtsp://me:secret@host") == f"{text} rtsp://***@host"
    assert time.process_time() - start < 10


def test_a_scheme_after_digits_hides_its_secrets() -> None:
    assert hide_secrets("found 12http://me:secret@host") == "found 12http://***@host"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no class '\x1b[31mred'", "no class '\\x1b[31mred'"),
        ("a\0b\tc\rd", "a\\x00b\\tc\\rd"),
        ("a\x85b\u2028c", "a\\x85b\\u2028c"),
        ("two issues:\n  é\n  ü", "two issues:\n  é\n  ü"),
        ("x" * MAX_ERROR_LINE, "x" * MAX_ERROR_LINE),
        ("a" * 9000 + "b" * 9000, "a" * 4997 + " ... " + "b" * 4997),  # (10,000 − 5) // 2
        ("a" * 10_001 + "\nb", "a" * 4997 + " ... " + "a" * 4997 + "\nb"),
    ],
)
def test_a_line_that_terminals_can_show(message: str, expected: str) -> None:
    error = DetectorError(message)
    assert str(error) == expected
    assert error.message == message


def test_a_place_that_terminals_can_show() -> None:
    assert str(DetectorError("is wrong", file="a\x1b[31m", line=1)) == "a\\x1b[31m:1: is wrong"
