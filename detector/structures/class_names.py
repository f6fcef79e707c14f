"""Validation of class names, shared by model files, data sets and calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from detector.utils.errors import shown


def class_name_issue(names: Sequence[object]) -> tuple[int, str] | None:
    """Return index and message of the first name that is not text or is a duplicate, or None.

    >>> class_name_issue(["cat", "dog", "cat"])
    (2, "class name 'cat' appears twice")
    """
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not isinstance(name, str):
            return index, f"expected a class name, found {shown(name)}; put it in quotes"
        if not name.strip():
            return index, f"expected a class name, found {shown(name)}"
        if name in seen:
            return index, f"class name {shown(name)} appears twice"
        seen.add(name)
    return None


def placeholder_names(count: int) -> tuple[str, ...]:
    """Return names for classes that have none.

    >>> placeholder_names(2)
    ('class0', 'class1')
    """
    return tuple(f"class{i}" for i in range(count))


def are_known(names: Sequence[str] | None) -> TypeGuard[Sequence[str]]:
    """Return whether names say something about their classes, unlike numbers and ``class0``.

    >>> [are_known(names) for names in (["0", "dog"], ["0", "1"], ["class0", "class1"], None)]
    [True, False, False, False]
    """
    if names is None:
        return False
    numbers = tuple(map(str, range(len(names))))  # of YOLOv5
    return tuple(names) not in (placeholder_names(len(names)), numbers)
