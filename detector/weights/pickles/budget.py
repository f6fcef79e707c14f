"""Limit on the memory that a checkpoint's tensors may take."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from detector.utils.errors import DetectorError
from detector.weights.pickles.machine import StoredTensor

MAX_SHARING = 4
"""Maximum total size of a checkpoint's tensors, as a multiple of the file's size."""


class Budget:
    """Reader of stored tensors that stops before shared storages fill the memory.

    Tensors may share a storage or repeat its numbers, and each one is read as a copy; without a
    limit, a small file could unpack to any size.

    Args:
        path: the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_SHARING * path.stat().st_size

    def read(self, stored: StoredTensor) -> Tensor:
        """Read a tensor, floating-point numbers as float32.

        Raises:
            DetectorError: the tensors read so far exceed the limit.
        """
        self._left -= stored.bytes
        if self._left < 0:
            raise DetectorError("its tensors are larger than the file", file=self._path)
        tensor = stored.read()
        return tensor.float() if tensor.is_floating_point() else tensor
