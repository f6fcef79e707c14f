"""Members of groups, which NMS in torch, Soft-NMS and fusion go through one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]


def by_group(groups: Indices) -> list[Indices]:
    """Return the members of each group in (m,) group numbers, ascending.

    >>> [members.tolist() for members in by_group(np.array([7, 3, 7]))]
    [[1], [0, 2]]
    """
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
