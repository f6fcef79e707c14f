"""Arrays whose memory is used again: memory fresh from the system costs more than filling it."""

from __future__ import annotations

import math
import weakref

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class ReusedMemory:
    """Float32 arrays whose memory is taken again as soon as no array or view of it is left.

    The first touch of each page of new memory is an interrupt of the system: for the raw outputs
    of YOLOv5n at 640 pixels (8.6 MB) a tenth of the network's time in bf16. Thread-safe.
    """

    def __init__(self) -> None:
        self._spare: list[Floats] = []

    def array(self, shape: tuple[int, ...]) -> Floats:
        """Return an array of that shape with arbitrary values."""
        size = math.prod(shape)
        try:
            flat = self._spare.pop()
        except IndexError:
            flat = np.empty(size, np.float32)
        if flat.size < size:
            flat = np.empty(size, np.float32)
        lease = _Lease(flat)
        weakref.finalize(lease, self._spare.append, flat).atexit = False
        leased: Floats = np.asarray(lease)
        return leased[:size].reshape(shape)


class _Lease:
    """What all views of a leased array refer to; it is gone when the last of them is."""

    def __init__(self, array: Floats) -> None:
        self.__array_interface__ = array.__array_interface__
