"""Class names: validation, and matching by name between data and model, or file and definition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.structures.class_names import class_name_issue
from detector.utils.errors import DetectorError, shown

WIDTH = 100
"""Width of wrapped paragraphs, characters."""

MAX_NUMBERED_CLASSES = 2**16
"""Largest number of classes named by their numbers, so that no label row makes a billion names."""


def match_names(found: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Return for each found name the index of the wanted name that it matches, or None.

    Equal names match first, then names that differ only in case, spaces, ``_`` and ``-``.

    >>> match_names(["dog", "DiningTable", "cow"], ["dining table", "dog"])
    [1, 0, None]
    """
    exact = {name: index for index, name in enumerate(wanted)}
    taken = {exact[name] for name in found if name in exact}
    loose: dict[str, list[int]] = {}
    for index, name in enumerate(wanted):
        if index not in taken:
            loose.setdefault(_key(name), []).append(index)
    matches: list[int | None] = []
    for name in found:
        candidates = loose.get(_key(name), [])
        if name in exact:
            matches.append(exact[name])
        else:
            matches.append(candidates.pop() if len(candidates) == 1 else None)
    return matches


def check_names(names: Sequence[object]) -> tuple[str, ...]:
    """Validate class names and return them as text; integers are converted.

    Raises:
        DetectorError: no names; a name that is not text or is empty; a duplicate.
    """
    if not names:
        raise DetectorError("no class names")
    texts = [
        str(name) if isinstance(name, int) and not isinstance(name, bool) else name
        for name in names
    ]
    issue = class_name_issue(texts)
    if issue is not None:
        raise DetectorError(issue[1])
    return tuple(map(str, texts))


def class_number(digits: str, file: Path, line: int) -> int:
    """Parse the number of a class that has no name.

    Raises:
        DetectorError: the number is too large; names the labels' file and line.
    """
    number = float(digits)  # unlike int, of any length
    if number >= MAX_NUMBERED_CLASSES:
        raise DetectorError(
            f"class {shown(digits)} without a name, expected 0 to {MAX_NUMBERED_CLASSES - 1}",
            file=file,
            line=line,
        )
    return int(number)


def describe(title: str, items: Sequence[str]) -> str:
    """Return a paragraph ``title: a, b, c``, wrapped between items."""
    lines = [f"{title}:"]
    for number, item in enumerate(items, 1):
        word = item if number == len(items) else f"{item},"
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character not in " _-")
