"""Requirements of a distribution by extra, and the installed versions.

The source is the metadata that pip stored; nothing is imported, and no server is asked for newer
versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from detector.utils.system import installed_versions

BASE = "base"
"""The name under which requirements without an extra are listed."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_BOUND = re.compile(r"(>=|<|==)\s*([0-9][0-9.]*)")


@dataclass(frozen=True)
class Library:
    """A required distribution.

    Attributes:
        name: spelling of the requirement.
        bounds: accepted versions, such as ``<3,>=2.10``; empty for any.
        version: the installed version, or None.
    """

    name: str
    bounds: str
    version: str | None

    @property
    def fits(self) -> bool:
        """True if a version within the bounds is installed."""
        return self.version is not None and in_bounds(self.version, self.bounds)


def libraries(distribution: str) -> dict[str, list[Library]]:
    """Return the required libraries by extra; :data:`BASE` lists those without an extra.

    An extra that includes another extra of the same distribution lists only its own libraries. The
    result is empty if the distribution is not installed.
    """
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[Library]] = {BASE: []}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None or match[1].lower() == distribution:
            continue
        name, bounds, marker = match[1], match[2].strip(), match[3] or ""
        version = installed_versions([name]).get(name)
        for extra in _EXTRA.findall(marker) or [BASE]:
            found.setdefault(extra, []).append(Library(name, bounds, version))
    return found


def extra_with(package: str, distribution: str) -> str | None:
    """Return the extra with the fewest libraries that has a package, or None if no extra has it."""
    found = [
        (len(wanted), extra)
        for extra, wanted in libraries(distribution).items()
        if extra != BASE and package in {library.name for library in wanted}
    ]
    return min(found)[1] if found else None


def in_bounds(version: str, bounds: str) -> bool:
    """Return whether a version's numbers lie within bounds of ``>=``, ``<`` and ``==``.

    >>> in_bounds("2.10.1+cpu", ">=2.10,<3")
    True
    >>> in_bounds("2.9", ">=2.10,<3")
    False
    """
    found = _numbers(version)
    compare = {
        ">=": lambda bound: found >= bound,
        "<": lambda bound: found < bound,
        "==": lambda bound: found == bound,
    }
    return all(compare[kind](_numbers(bound)) for kind, bound in _BOUND.findall(bounds))


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers without local part and trailing zeros: (2, 10) for 2.10.0+cpu."""
    release = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in release.group().split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
