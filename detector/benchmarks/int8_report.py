"""Results of ``benchmark int8`` as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

Way = Literal["float", "trained", "trained for INT8"]
"""Which weights a file has: in float, rounded as they were trained, or trained for the rounding."""

Scales = Literal["", "channel", "layer"]
"""What the weights have one scale for; nothing in float."""

COLUMNS = ("network", "format", "weights", "one scale a", "before", "after", "change", "ms", "MB")


@dataclass(frozen=True)
class Int8Row:
    """One file.

    Attributes:
        network: name of the network.
        format: format of the file.
        way: which weights it has.
        scales: what the weights have one scale for.
        metric: name of the main metric.
        before: main metric of the network that the file was made from.
        after: main metric of the file.
        change: interval of the difference; None where it was not computed.
        ms: median time of the network alone on one image.
        megabytes: size of the file and of those that belong to it.
    """

    network: str
    format: str
    way: Way
    scales: Scales
    metric: str
    before: float
    after: float
    change: tuple[float, float] | None
    ms: float
    megabytes: float

    def cells(self) -> list[str]:
        """Return the row as text; numbers of metrics have four digits."""
        change = f"{self.after - self.before:+.4f}"
        if self.change is not None:
            low, high = self.change
            change += f", {low:+.4f} to {high:+.4f}"
        return [
            self.network,
            self.format,
            self.way,
            self.scales or "–",
            f"{self.before:.4f}",
            f"{self.after:.4f}",
            change.replace("-", "−"),
            f"{self.ms:.1f}",
            f"{self.megabytes:.2f}",
        ]


def table(rows: Sequence[Int8Row]) -> str:
    """Return all rows as a Markdown table; the first columns of the metric bear its name."""
    metric = rows[0].metric
    named = {"before": f"{metric} before", "after": f"{metric} after"}
    headers = [named.get(column, column) for column in COLUMNS]
    return tabulate(
        [row.cells() for row in rows], headers, tablefmt="github", disable_numparse=True
    )
