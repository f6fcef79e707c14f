"""Error types and their weight in AP50, after TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115).

Each false positive has one type, by the objects that it overlaps, and so has each object that no
box found or nearly found. The weight of a type is the gain in AP50 if its errors, and no others,
were mended: a box gets the class or the place of its object where no better box has them, and is
removed elsewhere; a missed object is not asked for. The gains do not add up to 1 − AP50, since the
types interact.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.analysis.average_precision import (
    Outcomes,
    class_ap50,
    mean_ap,
    outcomes,
)
from detector.evaluation.analysis.matches import IOU, NONE, Booleans, Indices, Matches

BACKGROUND_IOU = 0.1
"""IoU up to which a box lies on the background."""

CLASSIFICATION, LOCALISATION, BOTH = "classification", "localisation", "both"
DUPLICATE, BACKGROUND, MISSED = "duplicate", "background", "missed"

BOX_TYPES = (CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND)
"""Types of false positives."""

TYPES = (*BOX_TYPES, MISSED)
FALSE_POSITIVES, FALSE_NEGATIVES = "false positives", "false negatives"


@dataclass(frozen=True)
class ErrorType:
    """One type of error.

    Attributes:
        count: number of boxes, or of objects if they are missed.
        gain: AP50 if these errors were mended, less AP50.
    """

    count: int
    gain: float


@dataclass(frozen=True)
class ErrorTypes:
    """The errors of a network by type.

    Attributes:
        ap50: COCO's AP50, as it is; −1 without objects.
        types: the six types.
        totals: all false positives removed; and no object asked for that is not found.
    """

    ap50: float
    types: dict[str, ErrorType]
    totals: dict[str, ErrorType]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "AP50": self.ap50,
            **{
                name: {"count": one.count, "gain": one.gain}
                for name, one in {**self.types, **self.totals}.items()
            },
        }


@dataclass(frozen=True)
class Errors:
    """The type of each false positive, and the objects that they would have found.

    Attributes:
        box_type: (m,) the type's name, empty where the box is right or ignored.
        object: (m,) object that the box would have found with another class or place, or ``NONE``.
        missed: (n,) True for objects that no box found or nearly found.
    """

    box_type: NDArray[np.str_]
    object: Indices
    missed: Booleans


def error_types(matches: Matches) -> ErrorTypes:
    """Count the errors of each type, and measure what mending them would give."""
    errors = find_errors(matches)
    ap50 = mean_ap(class_ap50(matches, outcomes(matches)))

    def measured(count: int, mended: Outcomes) -> ErrorType:
        after = mean_ap(class_ap50(matches, mended))
        # Without any object left, everything that is asked for is found.
        return ErrorType(int(count), 0.0 if ap50 < 0 else (after if after >= 0 else 1.0) - ap50)

    counts = {name: (errors.box_type == name).sum() for name in BOX_TYPES}
    counts[MISSED] = errors.missed.sum()
    return ErrorTypes(
        ap50,
        {name: measured(counts[name], mend(matches, errors, {name})) for name in TYPES},
        {
            FALSE_POSITIVES: measured(matches.boxes.wrong.sum(), without_wrong_boxes(matches)),
            FALSE_NEGATIVES: measured(matches.objects.missed.sum(), without_missed(matches)),
        },
    )


def find_errors(matches: Matches) -> Errors:
    """Name the type of each false positive, and find the objects that are missed."""
    own, other = matches.overlaps
    near = (own.iou >= BACKGROUND_IOU) & (own.iou <= IOU)
    types = np.select(
        [
            ~matches.boxes.wrong,
            near,
            other.iou >= IOU,
            own.iou >= IOU,
            np.maximum(own.iou, other.iou) <= BACKGROUND_IOU,
        ],
        ["", LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND],
        BOTH,
    )
    aimed = np.select(
        [types == LOCALISATION, types == CLASSIFICATION], [own.object, other.object], NONE
    )
    missed = matches.objects.missed
    missed[aimed[aimed != NONE]] = False
    return Errors(types, aimed, missed)


def mend(matches: Matches, errors: Errors, types: Collection[str]) -> Outcomes:
    """Return the outcomes with the errors of some types mended, all others as they are."""
    now = outcomes(matches)
    wrong = np.isin(errors.box_type, list(types))
    best = wrong & _best_of_their_objects(matches, errors)
    class_id = now.class_id.copy()
    class_id[best] = matches.objects.class_id[errors.object[best]]
    return Outcomes(
        class_id,
        now.right | best,
        now.counted & (~wrong | best),
        now.objects - _count(matches, errors.missed & (MISSED in types)),
    )


def without_wrong_boxes(matches: Matches) -> Outcomes:
    """Return the outcomes without false positives."""
    now = outcomes(matches)
    return Outcomes(now.class_id, now.right, now.right, now.objects)


def without_missed(matches: Matches) -> Outcomes:
    """Return the outcomes with the objects that were found, and no others."""
    now = outcomes(matches)
    objects = now.objects - _count(matches, matches.objects.missed)
    return Outcomes(now.class_id, now.right, now.counted, objects)


def _best_of_their_objects(matches: Matches, errors: Errors) -> Booleans:
    """Return True for the best box of each object that boxes nearly found and none found."""
    aims = errors.object != NONE
    aims[aims] = matches.objects.missed[errors.object[aims]]
    candidates = np.flatnonzero(aims)
    candidates = candidates[np.argsort(-matches.boxes.scores[candidates], kind="stable")]
    _, first = np.unique(errors.object[candidates], return_index=True)
    best = np.zeros(len(aims), np.bool_)
    best[candidates[first]] = True
    return best


def _count(matches: Matches, objects: Booleans) -> Indices:
    """Return the number of chosen objects of each class, (k,)."""
    return np.bincount(matches.objects.class_id[objects], minlength=len(matches.names))
