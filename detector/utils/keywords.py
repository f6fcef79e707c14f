"""One-line errors, with the nearest name, for misspelt keyword arguments of public functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from detector.utils.errors import DetectorError, nearest

P = ParamSpec("P")
R = TypeVar("R")


def check_keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse keywords that are not known.

    Raises:
        DetectorError: the first unknown one, with the nearest known name.

    >>> check_keywords(["iou"], ["confidence", "iou"])
    """
    known = tuple(known)
    for name in sorted(set(given).difference(known)):
        hint = nearest(name, known) or f"; known: {', '.join(known)}"
        raise DetectorError(f"unknown keyword {name!r}{hint}")


def refuses_unknown_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function to raise a DetectorError, not Python's TypeError, for a typo."""
    known = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        check_keywords(keywords, known)
        return function(*args, **keywords)

    return checked
