"""AP at IoU 0.5 from stated outcomes, accumulated by pycocotools."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from detector.evaluation.analysis.matches import IOU, Booleans, Floats, Indices, Matches


@dataclass(frozen=True)
class Outcomes:
    """The boxes that count in AP, right and wrong ones, and the number of objects.

    Attributes:
        class_id: (m,) index of each box's class.
        right: (m,) True for true positives.
        counted: (m,) True for true and false positives.
        objects: (k,) number of objects of each class.
    """

    class_id: Indices
    right: Booleans
    counted: Booleans
    objects: Indices


def outcomes(matches: Matches) -> Outcomes:
    """Return the outcomes as they are."""
    boxes, objects = matches.boxes, matches.objects
    counted = objects.class_id[~objects.ignored]
    return Outcomes(
        boxes.class_id,
        boxes.right,
        ~boxes.ignored,
        np.bincount(counted, minlength=len(matches.names)),
    )


def class_ap50(matches: Matches, given: Outcomes, recalls: Floats | None = None) -> Floats:
    """Return AP at IoU 0.5 of each class, (k,); −1 for classes without objects.

    Args:
        matches: the boxes with their scores.
        given: what counts, in the order of these boxes.
        recalls: recalls at which precision is read; default: COCO's.
    """
    evaluation: Any = COCOeval(iouType="bbox")
    params = evaluation.params
    params.imgIds, params.catIds = [0], list(range(len(matches.names)))  # all images as one
    params.areaRng, params.areaRngLbl = [[0, np.inf]], ["all"]
    params.maxDets, params.iouThrs = [len(matches.boxes)], np.array([IOU])
    if recalls is not None:
        params.recThrs = recalls
    evaluation._paramsEval = params
    evaluation.evalImgs = [_one_image(matches, given, k) for k in params.catIds]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]
    return np.asarray(precision.mean(axis=0), np.float64)


def mean_ap(per_class: Floats) -> float:
    """Return the mean over the classes that have objects, as COCO takes it; −1 without any."""
    measured = per_class[per_class > -1]
    return float(measured.mean()) if len(measured) else -1.0


def _one_image(matches: Matches, given: Outcomes, class_id: int) -> dict[str, Any]:
    own = given.class_id == class_id
    return {
        "dtScores": matches.boxes.scores[own],
        "dtMatches": given.right[own][None],
        "dtIgnore": ~given.counted[own][None],
        "gtIgnore": np.zeros(given.objects[class_id], np.int64),
    }
