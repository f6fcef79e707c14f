"""Which versions of libraries are installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions by name; what is not installed, or under another name, is left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
