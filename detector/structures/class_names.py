"""What a class name may be, for model files, data sets and calls alike."""

from __future__ import annotations

from collections.abc import Sequence

from detector.utils.errors import shown


def class_name_problem(names: Sequence[object]) -> tuple[int, str] | None:
    """Return index and fault of the first name that is no text or stands twice, or None.

    >>> class_name_problem(["cat", "dog", "cat"])
    (2, "class name 'cat' stands twice")
    """
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not isinstance(name, str):
            return index, f"expected a class name, found {shown(name)}; put it in quotes"
        if not name.strip():
            return index, f"expected a class name, found {shown(name)}"
        if name in seen:
            return index, f"class name {shown(name)} stands twice"
        seen.add(name)
    return None
