"""Annotation files of a folder that no split reads, and the lines that say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from detector.utils.errors import DetectorError

MAX_UNUSABLE = 5
"""Largest number of unusable files that have a line each; the rest are counted."""


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
        named = list(self.unusable.items())[:MAX_UNUSABLE]
        lines = [f"{file.relative_to(root)} {why_unusable(error)}" for file, error in named]
        more = len(self.unusable) - len(named)
        counted = [f"{more} more JSON files cannot be used"] if more else []
        return [*self.without_images, *lines, *counted]


def why_unusable(error: DetectorError) -> str:
    """Return why a file cannot be used, in words that follow its name."""
    line = "" if error.line is None else f" in line {error.line}"
    return f"cannot be used: {error.message}{line}"
