"""A measurement as ``docs/measured/NAME.json`` keeps it, and its table on a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from detector.utils.errors import DetectorError
from detector.utils.files import write_text
from detector.utils.yaml_file import Strict

DOCS = Path(__file__).resolve().parents[1]
RECORDS = DOCS / "measured"

UNKNOWN = "not recorded"
"""What a page says of a fact that nobody wrote down."""


class Record(Strict):
    """A table with where its numbers come from; None stands for what is not known.

    Attributes:
        recorded: day from which the numbers stand in these pages, as 2026-11-30.
        measured: day of the measurement.
        machine: processor and number of cores.
        versions: of Python and of the libraries involved, by name.
        commit: of this project.
        commands: commands that were run.
        header: names of the columns.
        rows: cells, as they stand in the table.
    """

    recorded: str
    measured: str | None
    machine: str | None
    versions: dict[str, str] | None
    commit: str | None
    commands: tuple[str, ...] | None
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def table(self) -> str:
        """Return the table in Markdown, and below it where its numbers come from."""
        rule = "|" + "---|" * len(self.header)
        lines = [_line(self.header), rule, *map(_line, self.rows)]
        return "\n".join([*lines, "", self.origin()])

    def origin(self) -> str:
        """Return date, machine, commit and versions as a line in Markdown."""
        date = f"measured {self.measured}" if self.measured else f"since {self.recorded}"
        machine = self.machine or f"machine {UNKNOWN}"
        commit = f"commit {self.commit or UNKNOWN}"
        versions = f"versions {UNKNOWN}"
        if self.versions:
            versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"*{date}; {machine}; {commit}; {versions}*"


def _line(cells: tuple[str, ...]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def path_of(name: str) -> Path:
    """Return the file that keeps a measurement."""
    return RECORDS / f"{name}.json"


def read(name: str) -> Record:
    """Read a measurement.

    Raises:
        DetectorError: a key is missing, unknown, or has another type.
    """
    return Record(**json.loads(path_of(name).read_text(encoding="utf-8")))


def write(name: str, record: Record) -> None:
    """Write a measurement as JSON, a row of the table a line."""
    text = record.model_dump_json(indent=1)
    in_one_line = re.sub(r"\[\n\s*([^\[\]{}]*?)\n\s*\]", _joined, text)
    write_text(path_of(name), f"{in_one_line}\n")


def _joined(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\n\s*", ", ", found[1]) + "]"


def marked(name: str, text: str) -> re.Match[str] | None:
    """Find a measurement's table in the text of a page, between its two markers."""
    begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
    return re.search(f"(?<={re.escape(begin)}\n)(.*?)\n(?={re.escape(end)})", text, re.S)


def fill(page: Path, name: str, record: Record) -> None:
    """Write a measurement's table between its markers.

    Raises:
        DetectorError: the page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    place = marked(name, text)
    if place is None:
        raise DetectorError(
            f"no table between '<!-- measured: {name} -->' and '<!-- end: {name} -->'", file=page
        )
    write_text(page, f"{text[: place.start(1)]}{record.table()}{text[place.end(1) :]}")
