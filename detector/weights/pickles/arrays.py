"""Dictionaries of numpy arrays in one pickle, as Paddle saves weights (``.pdparams``).

An array is a recorded call of numpy's ``_reconstruct``, whose state holds its shape, its type and
its numbers; they are read from that record, and numpy runs nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from detector.weights.pickles.machine import (
    MAX_DIMENSIONS,
    GlobalName,
    PickledObject,
    PickleError,
    Storage,
    StoredTensor,
    is_count,
)

RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
"""Function by which a pickle rebuilds an array, before and since numpy 2."""
NAME_TABLE = "StructuredToParameterName@@"
"""Key of Paddle's table of other names for the same arrays, which holds text only."""
DTYPES = {
    "f8": torch.float64,
    "f4": torch.float32,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "b1": torch.bool,
}


class _Bytes:
    """Storage whose bytes stand in the pickle itself."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, key: str, size: int) -> bytes:
        """Return all bytes."""
        return self._data

    def register(self, storage: Storage) -> None:
        """Accept a storage; its bytes are here."""


def with_arrays(content: Any) -> Any:
    """Return a dictionary with its arrays as tensors, without Paddle's table of names.

    Anything but a dictionary is returned unchanged.

    Raises:
        PickleError: an array is damaged, or of a type that is not read.
    """
    if not isinstance(content, dict):
        return content
    return {
        key: _tensor(key, value) if _is_array(value) else value
        for key, value in content.items()
        if key != NAME_TABLE
    }


def _is_array(value: Any) -> bool:
    return isinstance(value, PickledObject) and value.name in RECONSTRUCT


def _tensor(key: Any, array: PickledObject) -> StoredTensor:
    match array.state:
        case (1, tuple(shape), PickledObject(name="numpy.dtype") as dtype, bool(columns), data):
            pass
        case _:
            raise PickleError(f"array {key!r} is damaged")
    if GlobalName("numpy.ndarray") not in array.args:
        raise PickleError(f"array {key!r} is of a class of its own")
    kind = _torch_dtype(key, dtype)
    if not isinstance(data, bytes) or len(shape) > MAX_DIMENSIONS or not all(map(is_count, shape)):
        raise PickleError(f"array {key!r} is damaged")
    count = math.prod(shape)
    if len(data) != count * kind.itemsize:
        raise PickleError(
            f"array {key!r} of {'×'.join(map(str, shape)) or 'one number'} has {len(data)} bytes, "
            f"expected {count * kind.itemsize}"
        )
    return StoredTensor(Storage("", kind, count, _Bytes(data)), 0, shape, _strides(shape, columns))


def _torch_dtype(key: Any, dtype: PickledObject) -> torch.dtype:
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else None
    name = dtype.args[0] if dtype.args else None
    if order == ">":
        raise PickleError(f"array {key!r} is big-endian")
    if order not in ("<", "|") or not isinstance(name, str) or name not in DTYPES:
        raise PickleError(f"array {key!r} has numbers of a type that is not read: {name!r}")
    return DTYPES[name]


def _strides(shape: tuple[int, ...], columns: bool) -> tuple[int, ...]:
    """Return the step of each axis, the last axis first in memory, or the first if ``columns``."""
    ordered = shape if columns else shape[::-1]
    steps = [math.prod(ordered[:axis]) for axis in range(len(ordered))]
    return tuple(steps if columns else steps[::-1])
