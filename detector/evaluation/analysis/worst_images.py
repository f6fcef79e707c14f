"""The images with the most false positives, missed objects, and badly placed boxes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.evaluation.analysis.error_types import LOCALISATION, find_errors
from detector.evaluation.analysis.matches import Booleans, Floats, Indices, Matches, to_xyxy
from detector.structures.boxes_numpy import iou

GOOD_IOU = 0.75
"""IoU from which a box is well placed."""


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of one kind in one image.

    Attributes:
        image_id: of the image.
        count: number of mistakes.
        weight: what the images are ordered by.
    """

    image_id: int
    count: int
    weight: float


@dataclass(frozen=True)
class WorstImages:
    """Images with mistakes of each kind, the worst first; boxes below the confidence do not count.

    Attributes:
        false_positives: by the sum of their scores.
        missed: by the number of missed objects.
        localisation: boxes of the right class with an IoU from 0.1 to 0.75, by the sum of what
            they lack to 0.75.
        confidence: lowest score of a box.
    """

    false_positives: list[Mistakes]
    missed: list[Mistakes]
    localisation: list[Mistakes]
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def worst_images(matches: Matches, confidence: float) -> WorstImages:
    """Order the images by their mistakes of each kind; images without any are left out."""
    boxes = matches.boxes
    shown = boxes.scores >= confidence
    wrong = boxes.wrong & shown
    missed = unseen(matches, confidence)
    badly, lacking = _badly_placed(matches, shown)
    return WorstImages(
        _order(matches, boxes.image[wrong], boxes.scores[wrong]),
        _order(matches, matches.objects.image[missed], np.ones(int(missed.sum()))),
        _order(matches, boxes.image[badly], lacking[badly]),
        confidence,
    )


def unseen(matches: Matches, confidence: float) -> Booleans:
    """Return True for objects that no box of at least this score finds, (n,)."""
    objects = matches.objects
    seen = ~objects.missed & ~objects.ignored
    seen[seen] = matches.boxes.scores[objects.box[seen]] >= confidence
    return ~objects.ignored & ~seen


def _badly_placed(matches: Matches, shown: Booleans) -> tuple[Booleans, Floats]:
    """Return which boxes are badly placed, and what each lacks to a good IoU, (m,) both."""
    boxes = matches.boxes
    errors = find_errors(matches)
    target = np.where(boxes.right, boxes.object, errors.object)
    aimed = shown & (boxes.right | (errors.box_type == LOCALISATION))
    lacking = np.zeros(len(boxes))
    lacking[aimed] = GOOD_IOU - iou(
        to_xyxy(boxes.boxes_xywh[aimed]), to_xyxy(matches.objects.boxes_xywh[target[aimed]])
    )
    return lacking > 0, lacking


def _order(matches: Matches, images: Indices, weights: Floats) -> list[Mistakes]:
    counts = np.bincount(images, minlength=len(matches.image_ids))
    sums = np.bincount(images, weights, len(matches.image_ids))
    order = np.argsort(-sums, kind="stable")
    return [
        Mistakes(matches.image_ids[place], int(counts[place]), float(sums[place]))
        for place in order.tolist()
        if counts[place]
    ]
