"""Validation of class names, shared by model files, data sets and calls."""

from __future__ import annotations

from collections.abc import Sequence

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
