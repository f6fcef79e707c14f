"""What each row loses by INT8, and the fewest rows to leave in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.export.proof.comparison import InputBatch
from detector.export.quantize.quantizable import Quantizable
from detector.runtime.backends.backend import Arrays

SENSITIVITY_IMAGES = 8
"""Number of calibration images that the table of sensitivities is measured on."""

MOST_IN_FLOAT = 0.5
"""Share of the rows that may be left in float; a file with more is not one in INT8."""


@dataclass(frozen=True)
class RowLoss:
    """What a network loses when one row alone is quantised.

    Attributes:
        row: index of the row.
        error: root mean square of the change of the outputs, relative to theirs.
    """

    row: int
    error: float


def sensitivities(network: Quantizable, batches: Sequence[InputBatch]) -> list[RowLoss]:
    """Quantise each row alone and compare the outputs with those in float; the worst row first.

    Args:
        network: the network.
        batches: normalized images.
    """
    exact = network.run(network.rows, batches)
    losses = []
    for row in network.rows:
        others = [other for other in network.rows if other != row]
        losses.append(RowLoss(row, relative_error(exact, network.run(others, batches))))
    return sorted(losses, key=lambda loss: -loss.error)


def relative_error(exact: Sequence[Arrays], found: Sequence[Arrays]) -> float:
    """Return the root mean square of the change relative to that of the outputs.

    Each output of a network counts alike: those of all batches are compared, then averaged.
    """
    ratios = []
    for outputs in range(len(exact[0])):
        pairs = [(one[outputs], other[outputs]) for one, other in zip(exact, found, strict=True)]
        change = sum(float(np.square(b - a, dtype=np.float64).sum()) for a, b in pairs)
        size = sum(float(np.square(a, dtype=np.float64).sum()) for a, _ in pairs)
        ratios.append(np.sqrt(change / size) if size else 0.0)
    return float(np.mean(ratios))


def fewest(ranked: Sequence[int], passes: Callable[[Sequence[int]], bool]) -> list[int] | None:
    """Return the shortest beginning of a list with which a test passes, None if it is too long.

    The number is doubled until the test passes, and then halved in: a test takes minutes. That the
    test passes with more if it passes with fewer is expected, not needed.

    Args:
        ranked: rows, the worst first.
        passes: the test.

    >>> fewest([5, 2, 7, 1, 0, 3, 4, 6], lambda rows: len(rows) >= 3)
    [5, 2, 7]
    """
    most = int(len(ranked) * MOST_IN_FLOAT)
    failed, count = 0, 1
    while count <= most and not passes(ranked[:count]):
        failed, count = count, 2 * count if 2 * count <= most or count == most else most
    if count > most:
        return None
    while count - failed > 1:
        middle = (failed + count) // 2
        if passes(ranked[:middle]):
            count = middle
        else:
            failed = middle
    return list(ranked[:count])
