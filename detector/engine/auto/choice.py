"""A setting that was chosen, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from detector.settings.values import typed_text

GIVEN = "given"
"""Reason of a value that the user gave."""

MAX_WIDTH = 88
"""Characters of a line of a reason in the table."""

LATER = "–"
"""Text of a value that is found later."""


@dataclass(frozen=True)
class Choice:
    """A setting, its value, and the reason with the numbers it was computed from.

    The value None is found later: epochs by time.
    """

    name: str
    value: Any
    why: str


class Choices:
    """Choices by name, in order; a value that was given replaces the choice.

    Args:
        given: settings that the user gave.
        known: names of the settings that the network's head has.
    """

    def __init__(self, given: Mapping[str, Any], known: Iterable[str]) -> None:
        self.given = given
        self.known = frozenset(known)
        self.made: dict[str, Choice] = {}

    def add(self, choice: Choice) -> None:
        """Add a choice, unless the head has no such setting; a given value stays as it is."""
        if choice.name in self.given:
            choice = Choice(choice.name, self.given[choice.name], GIVEN)
        if choice.name in self.known:
            self.made[choice.name] = choice

    def __getitem__(self, name: str) -> Any:
        return self.made[name].value

    def values(self) -> dict[str, Any]:
        """Return what was chosen, without what was given."""
        made = self.made.items()
        return {n: one.value for n, one in made if n not in self.given and one.value is not None}

    def table(self) -> list[str]:
        """Return the lines of a table of settings, values and reasons."""
        rows = [[one.name, _text(one.value), one.why] for one in self.made.values()]
        header, widths = ["setting", "value", "why"], [None, None, MAX_WIDTH]
        return tabulate(rows, header, disable_numparse=True, maxcolwidths=widths).splitlines()


def _text(value: Any) -> str:
    return LATER if value is None else typed_text(value)
