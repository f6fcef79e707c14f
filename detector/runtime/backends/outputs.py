"""What a network gave, checked before it is used: a file may say one thing and do another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import CLASSES, Arrays
from detector.utils.errors import DetectorError

CLASS_IDS = "class_ids"
"""The output of whole numbers; all others are floating-point."""


def checked(
    arrays: Sequence[NDArray[Any]],
    outputs: Mapping[str, tuple[str, ...]],
    images: int,
    classes: int,
) -> Arrays:
    """The outputs as float32, class numbers as int64.

    Args:
        arrays: in the order of ``outputs``.
        outputs: names with those of their dimensions, as in ``detector.runtime.backends.backend``.
        images: that the network was given.
        classes: that it has.

    Raises:
        DetectorError: one has another type or shape, or holds what is no number or no class.
    """
    if len(arrays) != len(outputs):
        raise DetectorError(f"gives {len(arrays)} outputs, expected {len(outputs)}")
    sizes = {"batch": images, "": 4, CLASSES: classes}
    return tuple(
        _checked(name, array, dimensions, sizes)
        for array, (name, dimensions) in zip(arrays, outputs.items(), strict=True)
    )


def _checked(
    name: str, array: NDArray[Any], dimensions: tuple[str, ...], sizes: dict[str, int]
) -> NDArray[Any]:
    """One of them; ``sizes`` learns the dimensions that it is the first to have."""
    kinds, dtype = ("iu", np.int64) if name == CLASS_IDS else ("f", np.float32)
    if array.dtype.kind not in kinds:
        raise DetectorError(f"{name!r} is of type {array.dtype}, expected {np.dtype(dtype)}")
    if array.ndim == len(dimensions):
        for dimension, size in zip(dimensions, array.shape, strict=True):
            sizes.setdefault(dimension, size)
    expected = tuple(sizes.get(one) for one in dimensions)
    if array.shape != expected:
        form = ", ".join(str(sizes.get(one, one)) for one in dimensions)
        raise DetectorError(f"{name!r} has shape {array.shape}, expected ({form})")
    # Neither is hidden by the other numbers: numpy's largest of any and NaN is NaN.
    lowest, highest = (array.min(), array.max()) if array.size else (0, 0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DetectorError(f"{name!r} has a value that is not finite")
    if name == CLASS_IDS and not -1 <= lowest <= highest < sizes[CLASSES]:
        raise DetectorError(
            f"{name!r} are {lowest} to {highest}, expected -1 to {sizes[CLASSES] - 1}"
        )
    return array.astype(dtype, copy=False)
