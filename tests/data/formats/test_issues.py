"""Fatal issues and the error that lists them."""

from __future__ import annotations

from pathlib import Path

from detector.data.formats.issues import MAX_LISTED, Issue, issues_error


def test_one_issue_is_one_line() -> None:
    error = issues_error([Issue(Path("a.txt"), "class 9 is out of range", 3)], "split 'val'")
    assert str(error) == "a.txt:3: class 9 is out of range (--skip-bad leaves it out)"


def test_several_issues_are_listed_under_a_first_line() -> None:
    issues = [Issue(Path("a.txt"), "what", 3), Issue(Path("b.jpg"), "is empty")]
    assert str(issues_error(issues, "split 'val' of x.yaml")) == (
        "2 fatal issues in split 'val' of x.yaml (--skip-bad leaves them out):\n"
        "  a.txt:3: what\n"
        "  b.jpg: is empty"
    )


def test_the_list_has_a_limit() -> None:
    issues = [Issue(Path("a.txt"), "what", line) for line in range(MAX_LISTED + 7)]
    lines = str(issues_error(issues, "x")).split("\n")
    assert len(lines) == 1 + MAX_LISTED + 1
    assert lines[0].startswith(f"{MAX_LISTED + 7} fatal issues")
    assert lines[-1] == "  … and 7 more"
