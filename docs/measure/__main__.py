"""``python -m docs.measure``: run a measurement, and write its table into its page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tabulate import tabulate

from detector.utils.errors import DetectorError, nearest

from .entries import MEASUREMENTS
from .record import DOCS, fill, read, write
from .run import measure, places


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.measure", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="measurements; none: list all")
    parser.add_argument("--with", dest="given", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument(
        "--from-files", action="store_true", help="run nothing, write the tables from the files"
    )
    asked = parser.parse_args(words)
    try:
        if not asked.names and not asked.from_files:
            print(listed())
        for name in asked.names or (MEASUREMENTS if asked.from_files else ()):
            update(name, _paths(asked.given), asked.from_files)
    except DetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listed() -> str:
    """Return a table of all measurements, with what each needs and where it ran last."""
    rows = []
    for name, one in MEASUREMENTS.items():
        record = read(name)
        needs = ", ".join(places(one, record))
        rows.append([name, one.page, record.measured or "–", record.machine or "–", needs or "–"])
    return tabulate(rows, ["name", "page", "measured", "machine", "--with"])


def update(name: str, given: dict[str, str], from_files: bool) -> None:
    """Measure anew, unless the file is to be taken as it is, and write the table.

    Raises:
        DetectorError: there is no such measurement, or see :func:`measure`.
    """
    if name not in MEASUREMENTS:
        hint = nearest(name, MEASUREMENTS) or f"; expected one of {', '.join(MEASUREMENTS)}"
        raise DetectorError(f"no measurement is called {name}{hint}")
    one, record = MEASUREMENTS[name], read(name)
    if not from_files:
        record = measure(one, record, given)
        write(name, record)
    fill(DOCS / one.page, name, record)


def _paths(given: Sequence[str]) -> dict[str, str]:
    for text in given:
        if "=" not in text:
            raise DetectorError(f"--with: expected NAME=PATH, found {text}")
    return dict(text.split("=", 1) for text in given)


if __name__ == "__main__":
    sys.exit(main())
