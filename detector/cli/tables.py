"""Tables of metrics as text."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from detector.evaluation.intervals import COVERED, Interval

NOTHING = "–"
"""Text of a value that there is not."""

INTERVAL = f"{COVERED:.0%} interval".replace("%", " %")
"""Title of a column of intervals."""


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return rows of text as a table."""
    return tabulate(rows, header, disable_numparse=True)


def format_metric(value: float) -> str:
    """Return a metric as text, a dash without any ground truth.

    >>> format_metric(0.5), format_metric(-1)
    ('0.5000', '–')
    """
    return NOTHING if value < 0 else f"{value:.4f}"


def format_interval(interval: Interval | None, sign: str = "") -> str:
    """Return an interval as text, a dash without one; ``sign`` is + for differences.

    >>> format_interval((0.25, 0.5)), format_interval(None)
    ('0.2500 to 0.5000', '–')
    """
    return NOTHING if interval is None else " to ".join(f"{end:{sign}.4f}" for end in interval)
