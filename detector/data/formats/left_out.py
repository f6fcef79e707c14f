"""Annotation files of a folder that no split reads, and the lines that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detector.data.formats.folders import relative_path
from detector.utils.errors import DetectorError

MAX_LEFT_OUT = 5
"""Largest number of unused files or folders that are named; the rest are counted."""


@dataclass
class LeftOut:
    """JSON files that no split reads, although they may be annotation files.

    Attributes:
        without_images: a line for each file whose images are in no folder.
        unusable: for each file that is not JSON, or is invalid COCO JSON, the error that says why.
    """

    without_images: list[str] = field(default_factory=list)
    unusable: dict[Path, DetectorError] = field(default_factory=dict)

    def lines(self, root: Path) -> list[str]:
        """Return the lines to print about all of them; paths are relative to ``root``."""
        return [*self.without_images, *unusable_lines(self.unusable, root, "JSON")]


def unusable_lines(unusable: Mapping[Path, DetectorError], root: Path, kind: str) -> list[str]:
    """Return a line for each of some files that cannot be used; of many, the rest are counted.

    Args:
        unusable: the files, each with the error that says why.
        root: folder that the paths in the lines are relative to.
        kind: format of the files.
    """
    named = list(unusable.items())[:MAX_LEFT_OUT]
    lines = [f"{relative_path(file, root)} {why_unusable(error)}" for file, error in named]
    more = len(unusable) - len(named)
    return [*lines, *([f"{more} more {kind} files cannot be used"] if more else [])]


def why_unusable(error: DetectorError) -> str:
    """Return why a file cannot be used, in words that follow its name."""
    line = "" if error.line is None else f" in line {error.line}"
    return f"cannot be used: {error.message}{line}"
