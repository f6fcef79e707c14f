"""Misspelt keywords of the public functions."""

from __future__ import annotations

from typing import Any

import pytest

import detector
from detector.utils.errors import DetectorError
from detector.utils.keywords import check_keywords, refuses_unknown_keywords


@pytest.mark.parametrize("given", [[], ["a"], ["b", "a"]])
def test_known_keywords(given: list[str]) -> None:
    check_keywords(given, ("a", "b"))


def test_the_function_is_called_with_what_was_given() -> None:
    @refuses_unknown_keywords
    def function(first: int, *, second: int = 2) -> tuple[int, int]:
        """Return both."""
        return first, second

    assert (function(1), function(first=3, second=4)) == ((1, 2), (3, 4))
    assert (function.__name__, function.__doc__) == ("function", "Return both.")
    with pytest.raises(DetectorError, match=r"^unknown keyword 'secund'; did you mean 'second'\?$"):
        function(1, secund=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("build", {"clases": 3}, "unknown keyword 'clases'; did you mean 'classes'?"),
        ("build", {"x": 3}, "unknown keyword 'x'; known: cfg, classes, variant"),
        ("load", {"devise": "cpu"}, "unknown keyword 'devise'; did you mean 'device'?"),
        ("build", {"cfg": 3}, "cfg: expected a path, found 3"),
        ("load", {"path": None}, "path: expected a path, found None"),
    ],
)
def test_public_functions(name: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        getattr(detector, name)(**keywords)
    assert str(caught.value) == message
