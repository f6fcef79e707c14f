"""Memory for a network's outputs."""

from __future__ import annotations

import numpy as np

from detector.runtime.backends.backend import Arrays
from detector.runtime.reused_memory import ReusedMemory

Shapes = tuple[tuple[int, ...], ...]


class OutputMemory:
    """Memory for the outputs of a network, whose shapes follow from the shape of its input."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[int, ...], Shapes] = {}
        self._memory = ReusedMemory()

    def remember(self, image: tuple[int, ...], outputs: Arrays) -> Arrays:
        """Return the outputs, and remember their shapes for (b, 3, h, w) input."""
        if all(one.dtype == np.float32 for one in outputs):
            self._shapes[image] = tuple(one.shape for one in outputs)
        return outputs

    def outputs(self, image: tuple[int, ...]) -> Arrays | None:
        """Return arrays to fill for (b, 3, h, w) input; None if their shapes are not known."""
        shapes = self._shapes.get(image)
        return None if shapes is None else tuple(map(self._memory.array, shapes))
