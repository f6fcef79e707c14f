"""Unique names for files of one folder, on file systems that ignore case, too."""

from __future__ import annotations


class UniqueNames:
    """Names that differ in more than case: a second ``bus`` becomes ``bus_2``.

    Memory: about 100 bytes per name. Many equal names take linear time.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def unused(self, name: str) -> str:
        """Return the name, or the first of ``name_2``, ``name_3``, … that has not been returned."""
        key, unique = name.casefold(), name
        number = self._numbers.get(key, 0)
        while number and unique.casefold() in self._numbers:
            number += 1
            unique = f"{name}_{number}"
        self._numbers[key] = max(number, 1)
        self._numbers.setdefault(unique.casefold(), 1)
        return unique
