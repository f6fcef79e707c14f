"""Findings of a check, and the report that holds them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from detector.utils.errors import DetectorError

Severity = Literal["error", "warning", "note"]
"""error: training refuses the set; warning: training works, and its result is worse or misleads;
note: worth a look."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""All severities, the worst first."""

MAX_PRINTED = 3
"""Largest number of places of a finding that are printed; the JSON file has all of them."""


@dataclass(frozen=True)
class Place:
    """A file that a finding is about.

    Attributes:
        file: the file.
        detail: what is there, in a few words.
        split: name of the split, if the file belongs to one.
        line: 1-based line of the file, if known.
        group: number of the group of files that belong together, such as copies of one image.
    """

    file: Path
    detail: str = ""
    split: str | None = None
    line: int | None = None
    group: int | None = None

    def __str__(self) -> str:
        text = str(DetectorError(self.detail, file=self.file, line=self.line))
        text = text.removesuffix(": ")
        return text if self.split is None else f"{self.split}: {text}"

    def to_dict(self) -> dict[str, Any]:
        """Return the values that are known, for JSON."""
        values = {"detail": self.detail or None, "split": self.split, "line": self.line}
        values["group"] = self.group
        return {"file": str(self.file), **{k: v for k, v in values.items() if v is not None}}


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        kind: its name in JSON, in words joined by hyphens.
        severity: how bad it is.
        message: what was found, with counts, in one line.
        count: number of things found.
        advice: what to do.
        places: all files that it is about.
    """

    kind: str
    severity: Severity
    message: str
    count: int
    advice: str = ""
    places: Sequence[Place] = ()

    def lines(self) -> list[str]:
        """Return the lines to print: message and advice, and the first places below them."""
        advice = f"; {self.advice}" if self.advice else ""
        shown = [f"    {place}" for place in self.places[:MAX_PRINTED]]
        more = len(self.places) - len(shown)
        more_line = [f"    … and {more} more (--json FILE lists all)"] if more else []
        return [f"{self.severity}: {self.message}{advice}", *shown, *more_line]

    def to_dict(self) -> dict[str, Any]:
        """Return all values, for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "count": self.count,
            "advice": self.advice,
            "files": [place.to_dict() for place in self.places],
        }


@dataclass
class DataReport:
    """All findings about a data set, the worst first, with its numbers.

    Attributes:
        source: the data set, as the user wrote it.
        findings: what was found.
        splits: numbers of each split by its name.
        classes: number of boxes of each class by split: ``classes[name][split]``.
        sizes: number of boxes by the shorter side in the network's input.
        notes: lines on how the data set was read.
    """

    source: str
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings, and keep the worst first."""
        self.findings = sorted(
            [*self.findings, *findings], key=lambda one: SEVERITIES.index(one.severity)
        )

    def counts(self) -> dict[Severity, int]:
        """Return the number of findings by severity."""
        found = Counter(one.severity for one in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def passes(self) -> bool:
        """True if there is neither an error nor a warning."""
        return all(one.severity == "note" for one in self.findings)

    def summary(self) -> str:
        """Return the number of findings of each severity in one line."""
        counts = (
            f"{count} {severity}{'' if count == 1 else 's'}"
            for severity, count in self.counts().items()
        )
        return f"{self.source}: {', '.join(counts)}"

    def lines(self) -> list[str]:
        """Return the lines to print."""
        found = [line for one in self.findings for line in one.lines()]
        return [*self.notes, *_split_lines(self.splits), *found, self.summary()]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "source": self.source,
            "passes": self.passes,
            "counts": self.counts(),
            "splits": self.splits,
            "classes": self.classes,
            "sizes": self.sizes,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def _split_lines(splits: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"split {name!r}: {numbers['images']} images, {numbers['boxes']} boxes"
        for name, numbers in splits.items()
    ]


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one.

    >>> number_of(1, "image"), number_of(2, "box"), number_of(0, "class")
    ('1 image', '2 boxes', '0 classes')
    """
    plural = "es" if noun.endswith(("s", "x")) else "s"
    return f"{count} {noun}{'' if count == 1 else plural}"
