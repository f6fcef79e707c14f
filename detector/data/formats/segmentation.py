"""Boxes around the segmentations of COCO JSON, for annotations without a box of their own."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import numpy as np

from detector.data.formats.rows import SizeHW, is_finite_number
from detector.utils.errors import shown

COMPUTED = "boxes computed from segmentations, where annotations have none"
"""Name of the count of such boxes."""

POLYGON_VALUES = 6
"""Smallest number of coordinates of a polygon: three points."""

MAX_RUN = 2**31 - 1
"""Largest side of a mask and largest run of its pixels."""

RUN_TEXT = re.compile(r"(?:[P-o]{0,6}[0-O])+")
"""Run lengths as text. Each character holds five bits, the lowest first; those from P on are
followed by others of the same number."""


def with_box(annotation: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation with a box: its own, or the bounds of its segmentation.

    Raises:
        ValueError: it has no box, and its segmentation cannot be read.
    """
    segmentation = annotation.get("segmentation")
    if annotation.get("bbox") or not segmentation:
        return annotation
    if isinstance(segmentation, dict):
        return {**annotation, "bbox": _mask_bounds(segmentation)}
    return {**annotation, "bbox": _polygon_bounds(segmentation)}


def mask_size(annotation: dict[str, Any]) -> SizeHW | None:
    """Return height and width of an annotation's mask, or None if it has polygons."""
    segmentation = annotation["segmentation"]
    if not isinstance(segmentation, dict):
        return None
    height, width = segmentation["size"]
    return height, width


def _polygon_bounds(polygons: Any) -> list[float]:
    """Return x, y, width and height of the box around a list of polygons."""
    if not isinstance(polygons, list) or not all(map(_is_polygon, polygons)):
        raise ValueError(
            f"no bbox, and segmentation {shown(polygons)}, expected polygons "
            "[[x1, y1, x2, y2, x3, y3, …], …] or a mask {size, counts}"
        )
    points = np.array(list(chain.from_iterable(polygons)), np.float64).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    with np.errstate(over="ignore"):  # the check of the box reports infinity
        return [*low.tolist(), *(high - low).tolist()]


def _is_polygon(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < POLYGON_VALUES or len(value) % 2:
        return False
    return all(map(is_finite_number, value))


def _mask_bounds(mask: dict[str, Any]) -> list[float]:
    """Return x, y, width and height of the box around the pixels of a run-length encoded mask.

    The runs go down the columns, from the left one to the right one, and alternate between
    background and object.
    """
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_run, size)):
        raise ValueError(f"no bbox, and a mask of size {shown(size)}, expected [height, width]")
    runs = _decoded(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(map(_is_run, runs)):
        raise ValueError(f"no bbox, and a mask of counts {shown(counts)}, expected run lengths")
    height, width = size
    if sum(runs) != height * width:
        raise ValueError(
            f"no bbox, and a mask whose counts make {sum(runs)} pixels, expected {height * width} "
            f"of size {size}"
        )
    lengths = np.array(runs, np.int64)
    ends = np.cumsum(lengths)
    is_object = (np.arange(len(runs)) % 2 == 1) & (lengths > 0)
    if not is_object.any():
        return [0.0, 0.0, 0.0, 0.0]
    first_x, first_y = np.divmod((ends - lengths)[is_object], height)
    last_x, last_y = np.divmod(ends[is_object] - 1, height)
    in_one_column = bool((first_x == last_x).all())
    top, bottom = (first_y.min(), last_y.max()) if in_one_column else (0, height - 1)
    left, right = first_x[0], last_x[-1]
    return [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]


def _decoded(text: str) -> list[int] | None:
    """Return the run lengths that pycocotools writes as text, or None if it is another text.

    From the fourth on, each is stored as its difference to the last but one.
    """
    if not RUN_TEXT.fullmatch(text):
        return None
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - ord("0")
        value |= (code & 0b11111) << bits
        bits += 5
        if code & 0b100000:
            continue
        if code & 0b10000:  # the sign
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    return runs


def _is_run(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RUN
