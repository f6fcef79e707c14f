"""Boxes around shapes that annotation tools draw: polygons, circles, ellipses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from detector.data.formats.rows import Box, is_finite_number
from detector.utils.errors import shown


def numbers(values: Any, name: str) -> list[float]:
    """Return the values of a JSON list as floats.

    Raises:
        ValueError: it is not a list, or a value is not a finite number; says ``name``.
    """
    if not isinstance(values, list):
        raise ValueError(f"{name}: {shown(values)}, expected a list of numbers")
    return [number(value, name) for value in values]


def number(value: Any, name: str) -> float:
    """Return a JSON value as a float.

    Raises:
        ValueError: it is not a finite number; says ``name``.
    """
    if not is_finite_number(value):
        raise ValueError(f"{name}: {shown(value)} is not a finite number")
    return float(value)


def box_around(xs: Sequence[float], ys: Sequence[float]) -> Box:
    """Return the box around some points.

    Raises:
        ValueError: no points, or not as many x as y.
    """
    if not xs or len(xs) != len(ys):
        raise ValueError(f"{len(xs)} x and {len(ys)} y of points, expected as many of each")
    return min(xs), min(ys), max(xs), max(ys)


def box_around_ellipse(
    center_xy: tuple[float, float], radii_xy: tuple[float, float], angle: float = 0.0
) -> Box:
    """Return the box around an ellipse that is rotated by ``angle``, radians.

    Raises:
        ValueError: a negative radius.

    >>> box_around_ellipse((10.0, 20.0), (4.0, 3.0))
    (6.0, 17.0, 14.0, 23.0)
    """
    if min(radii_xy) < 0:
        raise ValueError(f"the radius {min(radii_xy):g} is negative")
    (x, y), (rx, ry) = center_xy, radii_xy
    sine, cosine = math.sin(angle), math.cos(angle)
    half_width, half_height = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
    return x - half_width, y - half_height, x + half_width, y + half_height


def outlines_counted(kind: str) -> str:
    """Return the name under which outlines of a kind that became boxes are counted."""
    return f"outlines ({kind}) read as the boxes around them"
