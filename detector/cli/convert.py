"""``convert``: write a data set in another format of labels."""

from __future__ import annotations

from typing import Any

from detector.data.conversion.run import run_conversion
from detector.settings.datasets import ConvertSettings


def convert(settings: ConvertSettings) -> dict[str, Any]:
    """Convert a data set; print and return counts and what could not be kept.

    Raises:
        DetectorError: the data cannot be read or written; nothing is written.
    """
    report = run_conversion(settings)
    print(*report.lines(), sep="\n")
    return report.to_dict()
