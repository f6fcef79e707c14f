"""AP by the size of objects, by the brightness of images, and by the number of their objects.

Each value is pycocotools' own AP: for objects of a range of areas, or on some of the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.evaluation.analysis.matches import Floats, Matches
from detector.evaluation.coco import CocoEvaluator, Parts
from detector.evaluation.curves import IOU

SIDES = (0, 8, 16, 32, 64, 96, 128, 256, 512)
"""Bounds of the ranges of size, pixels: square roots of areas. 32 and 96 are COCO's."""

ANY_AREA = (0.0, 1e10)
"""COCO's range of areas for objects of all sizes."""

BRIGHTNESS_GROUPS = 4
CROWDING = (1, 2, 5, 10, 20, 50)
"""Smallest numbers of objects of an image in each group."""


@dataclass(frozen=True)
class Bin:
    """AP on a part of the evaluation set.

    Attributes:
        name: of the part.
        images: number of images; None where all are used.
        objects: number of objects, crowds left out.
        ap: COCO AP; −1 without objects.
        ap50: the same at IoU 0.5.
    """

    name: str
    images: int | None
    objects: int
    ap: float
    ap50: float


@dataclass(frozen=True)
class Bins:
    """AP by three properties of objects and images."""

    size: list[Bin]
    brightness: list[Bin]
    crowding: list[Bin]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def bins(matches: Matches, brightness: Mapping[int, float]) -> Bins:
    """Measure AP on each part.

    Args:
        matches: objects and boxes.
        brightness: mean of the pixels of each image, 0 to 255, by its id.
    """
    return Bins(by_size(matches), by_brightness(matches, brightness), by_crowding(matches))


def by_size(matches: Matches) -> list[Bin]:
    """Return AP for objects of each range of size, those that no object has left out."""
    sides = [*map(float, SIDES), ANY_AREA[1] ** 0.5]
    areas = [(low**2, high**2) for low, high in zip(sides, sides[1:], strict=False)]
    measured = _measure(matches.evaluator, Parts(areas=areas))
    found = matches.objects.areas[~matches.objects.ignored]
    counts = [int(((found >= low) & (found <= high)).sum()) for low, high in areas]
    names = [f"{low} to {high} px" for low, high in zip(SIDES, SIDES[1:], strict=False)]
    rows = zip([*names, f"over {SIDES[-1]} px"], counts, measured, strict=True)
    return [Bin(name, None, count, *values) for name, count, values in rows if count]


def by_brightness(matches: Matches, brightness: Mapping[int, float]) -> list[Bin]:
    """Return AP on groups of equally many images, from the darkest to the brightest."""
    values = np.array([brightness[number] for number in matches.image_ids])
    parts = np.array_split(np.argsort(values, kind="stable"), BRIGHTNESS_GROUPS)
    named = [
        (f"{values[part].min():.0f} to {values[part].max():.0f}", part)
        for part in parts
        if len(part)
    ]
    return _by_images(matches, named)


def by_crowding(matches: Matches) -> list[Bin]:
    """Return AP on groups of images by their number of objects, crowds left out."""
    objects = matches.objects
    counts = np.bincount(objects.image[~objects.ignored], minlength=len(matches.image_ids))
    ends = [*CROWDING[1:], None]
    named = []
    for start, end in zip(CROWDING, ends, strict=True):
        inside = (counts >= start) & (counts < (np.inf if end is None else end))
        last = None if end is None else end - 1
        name = f"{start} or more" if last is None else f"{start} to {last}"
        named.append((str(start) if last == start else name, np.flatnonzero(inside)))
    return _by_images(matches, [(name, part) for name, part in named if len(part)])


def _by_images(matches: Matches, named: Sequence[tuple[str, Any]]) -> list[Bin]:
    objects = matches.objects
    counts = np.bincount(objects.image[~objects.ignored], minlength=len(matches.image_ids))
    result = []
    for name, part in named:
        ids = [matches.image_ids[place] for place in part.tolist()]
        ((ap, ap50),) = _measure(matches.evaluator, Parts(ids, [ANY_AREA]))
        result.append(Bin(name, len(ids), int(counts[part].sum()), ap, ap50))
    return result


def _measure(evaluator: CocoEvaluator, parts: Parts) -> Iterator[tuple[float, float]]:
    """Yield AP and AP50 for each range of areas."""
    evaluation = evaluator.evaluation(parts=parts)
    at_half = int(np.flatnonzero(np.isclose(evaluation.params.iouThrs, IOU))[0])
    # (IoU thresholds, recalls, classes, areas, max detections); −1: no ground truth
    precision = evaluation.eval["precision"][..., -1]
    for area in range(precision.shape[3]):
        one = precision[:, :, :, area]
        yield _mean(one), _mean(one[at_half])


def _mean(precision: Floats) -> float:
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else -1.0
