"""One error for all that is wrong."""

from __future__ import annotations

from pathlib import Path

from detector.data.formats.problems import MAX_LISTED, Problem, problems_error


def test_one_problem_is_one_line() -> None:
    error = problems_error([Problem(Path("a.txt"), "class 9 is out of range", 3)], "split 'val'")
    assert str(error) == "a.txt:3: class 9 is out of range (--skip-bad leaves it out)"


def test_several_problems_are_listed_under_a_first_line() -> None:
    problems = [Problem(Path("a.txt"), "what", 3), Problem(Path("b.jpg"), "is empty")]
    assert str(problems_error(problems, "split 'val' of x.yaml")) == (
        "2 fatal problems in split 'val' of x.yaml (--skip-bad leaves them out):\n"
        "  a.txt:3: what\n"
        "  b.jpg: is empty"
    )


def test_the_list_has_a_limit() -> None:
    problems = [Problem(Path("a.txt"), "what", line) for line in range(MAX_LISTED + 7)]
    lines = str(problems_error(problems, "x")).split("\n")
    assert len(lines) == 1 + MAX_LISTED + 1
    assert lines[0].startswith(f"{MAX_LISTED + 7} fatal problems")
    assert lines[-1] == "  … and 7 more"
