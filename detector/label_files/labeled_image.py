"""Labels of one image, as all writers take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXEL_PLACES = 6
"""Decimal places of coordinates in pixels: float32 has no more from 16 pixels on."""

FRACTION_PLACES = 12
"""Decimal places of fractions: read again, a corner gets the same places in pixels."""


def _unset_bool() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True)
class LabeledImage:
    """An image file and its boxes.

    Attributes:
        name: path of the image below the folder of images, with slashes.
        size_hw: height and width of the image with its EXIF orientation applied, pixels.
        boxes_xyxy: (n, 4) float32, pixels.
        class_ids: (n,) int64, indices into the class names.
        image_id: number of the image, from 1; that of its COCO file where there is one.
        scores: (n,) float32 in 0..1, or None for labels that people made.
        crowd: (n,) bool, COCO's ``iscrowd``; empty: none.
        difficult: (n,) bool, Pascal VOC's ``difficult``; empty: none.
        areas: (n,) float32, pixels²; None: those of the boxes.
        record: further keys of the image's record in COCO JSON.
    """

    name: str
    size_hw: tuple[int, int]
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    image_id: int
    scores: NDArray[np.float32] | None = None
    crowd: NDArray[np.bool_] = field(default_factory=_unset_bool)
    difficult: NDArray[np.bool_] = field(default_factory=_unset_bool)
    areas: NDArray[np.float32] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("crowd", "difficult"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.class_ids), np.bool_))

    def corners(self) -> NDArray[np.float64]:
        """Return the boxes, (n, 4), as decimals of 6 places at most."""
        return np.round(shortest(self.boxes_xyxy), PIXEL_PLACES)


def shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return float64 values whose texts are the shortest that are read as the same float32.

    >>> float(np.float32(0.1)), shortest(np.array([0.1], np.float32)).tolist()
    (0.10000000149011612, [0.1])
    """
    return values.astype(str).astype(np.float64)


def decimal(value: float, places: int = PIXEL_PLACES) -> str:
    """Return a number without exponent and without zeros at its end.

    >>> decimal(473.07), decimal(12.0), decimal(0.00002)
    ('473.07', '12', '0.00002')
    """
    return f"{value:.{places}f}".rstrip("0").rstrip(".")
