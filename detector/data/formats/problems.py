"""What is wrong with a data set: fatal problems, which are listed all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.utils.errors import DetectorError

MAX_LISTED = 20
"""Problems that an error lists; it says how many more there are."""


@dataclass(frozen=True)
class Problem:
    """Something that nobody but the owner of the data can mend.

    Attributes:
        file: the label or image file.
        what: what was found and what was expected.
        line: 1-based line of the file, where there is one.
        spoils_image: ``--skip-bad`` drops the whole image, not one row of its labels.
        rows: of labels that it stands for.
    """

    file: Path
    what: str
    line: int | None = None
    spoils_image: bool = False
    rows: int = 1

    def __str__(self) -> str:
        return str(DetectorError(self.what, file=self.file, line=self.line))


def other_size(stated_hw: tuple[int, int], size_hw: tuple[int, int]) -> str:
    """What is wrong with labels in pixels of an image that has another size now."""
    stated, found = (f"{width}×{height}" for height, width in (stated_hw, size_hw))
    return f"labels are of an image of {stated} pixels, found {found}"


def problems_error(problems: Sequence[Problem], where: str) -> DetectorError:
    """One error for all problems: one line for one problem, else a list under a first line.

    Args:
        problems: at least one.
        where: what they were found in, e.g. ``"split 'train' of bccd.yaml"``.
    """
    if len(problems) == 1:
        one = problems[0]
        return DetectorError(f"{one.what} (--skip-bad leaves it out)", file=one.file, line=one.line)
    lines = [f"{len(problems)} fatal problems in {where} (--skip-bad leaves them out):"]
    lines += [f"  {problem}" for problem in problems[:MAX_LISTED]]
    if len(problems) > MAX_LISTED:
        lines.append(f"  … and {len(problems) - MAX_LISTED} more")
    return DetectorError("\n".join(lines))
