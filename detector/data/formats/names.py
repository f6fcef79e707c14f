"""Classes of two sides, data and model or file and definition, matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.structures.class_names import class_name_problem
from detector.utils.errors import DetectorError, shown

WIDTH = 100

MAX_NUMBERED_CLASSES = 2**16
"""Most classes that are named by their numbers: one row cannot make a billion names."""


def match_names(found: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """For each found name the index of the wanted name that it means, or None.

    Names that are equal come first; then those that differ in case, spaces, ``_`` and ``-`` only.

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
    """Validate class names, and return them as text; whole numbers are names too.

    Raises:
        DetectorError: none, not text, empty, or twice the same.
    """
    if not names:
        raise DetectorError("no class names")
    texts = [
        str(name) if isinstance(name, int) and not isinstance(name, bool) else name
        for name in names
    ]
    problem = class_name_problem(texts)
    if problem is not None:
        raise DetectorError(problem[1])
    return tuple(map(str, texts))


def class_number(digits: str, file: Path, line: int) -> int:
    """The number of a class that labels use and nothing names.

    Raises:
        DetectorError: it is too large to be one; with the labels' file and line.
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
    """One paragraph, wrapped between items: ``title: a, b, c``."""
    lines = [f"{title}:"]
    for number, item in enumerate(items, 1):
        word = item if number == len(items) else f"{item},"
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character not in " _-")
