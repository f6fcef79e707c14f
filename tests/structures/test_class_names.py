"""Validation of class names."""

from __future__ import annotations

import pytest

from detector.structures.class_names import class_name_issue


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["cat", "Cat", "0"], None),
        (["cat", "dog", "cat", 3], (2, "class name 'cat' appears twice")),
        (["cat", 3, 3], (1, "expected a class name, found 3; put it in quotes")),
        (["no", False], (1, "expected a class name, found False; put it in quotes")),
        ([None], (0, "expected a class name, found None; put it in quotes")),
        (["cat", ""], (1, "expected a class name, found ''")),
        (["cat", " \t"], (1, "expected a class name, found ' \\t'")),
    ],
)
def test_the_first_name_that_is_wrong(names: list[object], expected: tuple[int, str] | None):
    assert class_name_issue(names) == expected
