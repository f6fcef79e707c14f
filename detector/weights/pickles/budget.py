"""How much a checkpoint's tensors may unpack to."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from detector.utils.errors import DetectorError
from detector.weights.pickles.machine import StoredTensor

MAX_SHARING = 4
"""The tensors may have this many times the file's bytes together."""


class Budget:
    """Tensors may share their storage, but not so that a small file fills the memory.

    Args:
        path: the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_SHARING * path.stat().st_size

    def read(self, stored: StoredTensor) -> Tensor:
        """Read a tensor, as float32 where it holds floating-point numbers."""
        self._left -= stored.storage.elements * stored.storage.dtype.itemsize
        if self._left < 0:
            raise DetectorError("its tensors are larger than the file", file=self._path)
        tensor = stored.read()
        return tensor.float() if tensor.is_floating_point() else tensor
