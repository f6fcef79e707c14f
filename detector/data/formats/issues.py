"""Fatal issues of a data set, and the one error that lists them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.utils.errors import DetectorError

MAX_LISTED = 20
"""Largest number of issues that an error lists; it counts the rest."""


@dataclass(frozen=True)
class Issue:
    """A fault of an image or label file that only the owner of the data can fix.

    Attributes:
        file: the label or image file.
        message: what was found and what was expected.
        line: 1-based line of the file, if the issue has one.
        drops_image: True if ``--skip-bad`` drops the whole image, False if only label rows.
        rows: number of label rows that are unusable because of it.
    """

    file: Path
    message: str
    line: int | None = None
    drops_image: bool = False
    rows: int = 1

    def __str__(self) -> str:
        return str(DetectorError(self.message, file=self.file, line=self.line))


def other_size(stated_hw: tuple[int, int], size_hw: tuple[int, int]) -> str:
    """Return the message for labels in pixels of an image whose size is now different."""
    stated, found = (f"{width}×{height}" for height, width in (stated_hw, size_hw))
    return f"labels are of an image of {stated} pixels, found {found}"


def issues_error(issues: Sequence[Issue], where: str) -> DetectorError:
    """Return one error for all issues: a single line for one issue, else a list with a heading.

    Args:
        issues: one or more.
        where: place where they were found, e.g. ``"split 'train' of bccd.yaml"``.
    """
    if len(issues) == 1:
        one = issues[0]
        return DetectorError(
            f"{one.message} (--skip-bad leaves it out)", file=one.file, line=one.line
        )
    lines = [f"{len(issues)} fatal issues in {where} (--skip-bad leaves them out):"]
    lines += [f"  {issue}" for issue in issues[:MAX_LISTED]]
    if len(issues) > MAX_LISTED:
        lines.append(f"  … and {len(issues) - MAX_LISTED} more")
    return DetectorError("\n".join(lines))
