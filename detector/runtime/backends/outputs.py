"""Validation of a network's outputs: a file may declare one thing and return another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import CLASSES, Arrays
from detector.utils.errors import DetectorError

CLASS_IDS = "class_ids"
"""Name of the only integer output; all others are floating-point."""


def validate_outputs(
    arrays: Sequence[NDArray[Any]],
    outputs: Mapping[str, tuple[str | int, ...]],
    images: int,
    classes: int,
) -> Arrays:
    """Validate outputs and convert them to float32, class ids to int64.

    Args:
        arrays: the outputs, in the order of ``outputs``.
        outputs: names of the outputs and of their dimensions, or the dimensions' sizes, as in
            ``detector.runtime.backends.backend``.
        images: number of images in the network's input.
        classes: number of classes.

    Raises:
        DetectorError: an output has another type or shape, or a value that is not finite or not
            a class id.
    """
    if len(arrays) != len(outputs):
        raise DetectorError(f"gives {len(arrays)} outputs, expected {len(outputs)}")
    sizes: dict[str | int, int] = {"batch": images, "": 4, CLASSES: classes}
    return tuple(
        _validate_output(name, array, dimensions, sizes)
        for array, (name, dimensions) in zip(arrays, outputs.items(), strict=True)
    )


def _validate_output(
    name: str,
    array: NDArray[Any],
    dimensions: tuple[str | int, ...],
    sizes: dict[str | int, int],
) -> NDArray[Any]:
    """Validate and convert one output; add dimensions that are new in it to ``sizes``."""
    kinds, dtype = ("iu", np.int64) if name == CLASS_IDS else ("f", np.float32)
    if array.dtype.kind not in kinds:
        raise DetectorError(f"{name!r} is of type {array.dtype}, expected {np.dtype(dtype)}")
    if array.ndim == len(dimensions):
        for dimension, size in zip(dimensions, array.shape, strict=True):
            sizes.setdefault(dimension, dimension if isinstance(dimension, int) else size)
    expected = tuple(sizes.get(one) for one in dimensions)
    if array.shape != expected:
        form = ", ".join(str(sizes.get(one, one)) for one in dimensions)
        raise DetectorError(f"{name!r} has shape {array.shape}, expected ({form})")
    if name == CLASS_IDS and array.size:
        lowest, highest = array.min(), array.max()
        if not -1 <= lowest <= highest < sizes[CLASSES]:
            raise DetectorError(
                f"{name!r} are {lowest} to {highest}, expected -1 to {sizes[CLASSES] - 1}"
            )
    elif not _is_finite(array):
        raise DetectorError(f"{name!r} has a value that is not finite")
    return array.astype(dtype, copy=False)


def _is_finite(array: NDArray[Any]) -> bool:
    """Return True if no value is NaN or infinite, by one pass over them wherever that is so."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()
    return bool(np.isfinite(total) or np.isfinite(array).all())
