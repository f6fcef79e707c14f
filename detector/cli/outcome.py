"""Outcomes of tools whose exit code says more than that they ran."""

from __future__ import annotations

from typing import Any, NamedTuple

EXIT_FOUND = 1
"""Exit code of a check that found something, when it was asked to fail then."""

EXIT_SIGNAL = 128
"""Base of the exit code after a signal, to which its number is added, as shells do."""


class Outcome(NamedTuple):
    """What a tool returns in place of its metrics alone.

    Attributes:
        metrics: values for ``--json``.
        code: exit code of the process.
    """

    metrics: Any
    code: int = 0
