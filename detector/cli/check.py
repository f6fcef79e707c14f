"""``check``: find what is wrong with a data set, print it, and write a page or a cleaned copy."""

from __future__ import annotations

from detector.cli.outcome import EXIT_FOUND, Outcome
from detector.engine.data_check import run_data_check
from detector.settings.datasets import DataCheckSettings


def check(settings: DataCheckSettings) -> Outcome:
    """Check a data set, and print the findings, the worst first.

    Raises:
        DetectorError: no such data, split or model; a file cannot be written.
    """
    checked = run_data_check(settings)
    report, copy = checked.report, checked.copy
    print(*report.lines(), sep="\n")
    metrics = report.to_dict()
    if copy is not None:
        print(*copy.lines(), sep="\n")
        metrics["fix"] = {"folder": str(copy.folder), "changes": copy.changes}
    fails = settings.strict and not report.passes
    return Outcome(metrics, EXIT_FOUND if fails else 0)
