"""Split boxes by group, for the NMS variants that process one group at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]


def by_group(groups: Indices) -> list[Indices]:
    """Return the indices of each group's members, groups and indices ascending.

    Args:
        groups: (m,) group number of each box.

    >>> [members.tolist() for members in by_group(np.array([7, 3, 7]))]
    [[1], [0, 2]]
    """
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
