"""Labels that are probably wrong, the most suspicious first.

Two witnesses speak about each object: the label and the network. Where they disagree, suspicion is
how sure the network is, between 0 and 1:

- **missing label**: a box where nothing is labelled. Suspicion is its score.
- **wrong class**: a box of another class lies on a labelled object. Both witnesses agree that there
  is an object, so that only its class is in doubt: suspicion is the share of the other class in the
  scores of both, s / (s + s of the labelled class).
- **shifted box**: a box of the labelled class overlaps the object by less than ``GOOD_IOU`` and no
  box of its class overlaps it more. Suspicion is its score, for an IoU over 0.5 times 2 (1 − IoU).
- **unfound object**: no box lies on the object. Suspicion is half the share of its class that the
  network finds, less the best score on it: a hard object is as likely as a wrong label, and more so
  in a class that the network often misses.

The network may have been trained on these very labels, as long as it has not learned them by heart:
few epochs, augmentation, weights averaged over steps. Boxes below the confidence say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.evaluation.analysis.error_types import BACKGROUND_IOU
from detector.evaluation.analysis.matches import (
    IOU,
    NONE,
    Booleans,
    Floats,
    Indices,
    Matches,
    pairwise_iou,
    to_xyxy,
)
from detector.evaluation.analysis.worst_images import unseen

GOOD_IOU = 0.7
"""IoU from which a label's place is not in doubt."""

MISSING, WRONG_CLASS = "missing label", "wrong class"
SHIFTED, UNFOUND = "shifted box", "unfound object"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelError:
    """A label that is probably wrong, or missing.

    Attributes:
        image_id: of the image.
        kind: what is probably wrong.
        suspicion: 0 to 1; the list is ordered by it.
        box_xyxy: the labelled box, pixels; for a missing label the box that was found.
        label_class: class of the label; None for a missing one.
        predicted_class: class that was found; None where nothing was.
        predicted_box_xyxy: box that was found; None where nothing was.
        score: its score; None where nothing was found.
    """

    image_id: int
    kind: str
    suspicion: float
    box_xyxy: Box
    label_class: str | None
    predicted_class: str | None
    predicted_box_xyxy: Box | None
    score: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def label_errors(matches: Matches, confidence: float) -> list[LabelError]:
    """Return the labels that are probably wrong, the most suspicious first.

    Args:
        matches: objects and boxes.
        confidence: lowest score of a box that says something about a label.
    """
    seen = _Seen(matches, confidence)
    found = [*_doubtful_labels(matches, seen), *_missing_labels(matches, seen)]
    return sorted(found, key=lambda one: -one.suspicion)


class _Seen:
    """The boxes on each object, and near it.

    Attributes:
        own: (n,) best box of the object's class that lies on it, or ``NONE``.
        own_score: (n,) its score; 0 where there is none.
        other: (n,) best box of another class that lies on the object, or ``NONE``.
        other_score: (n,) its score; 0 where there is none.
        near: (n,) box of the object's class that overlaps it most, at all and with enough
            confidence, or ``NONE``.
        near_iou: (n,) its IoU with the object.
        explained: (m,) True for boxes that lie on an object, or are the nearest to one.
        confidence: lowest score of a box that says something.
    """

    def __init__(self, matches: Matches, confidence: float) -> None:
        count = len(matches.objects)
        self.confidence = confidence
        self.own, self.own_score = np.full(count, NONE), np.zeros(count)
        self.other, self.other_score = np.full(count, NONE), np.zeros(count)
        self.near, self.near_iou = np.full(count, NONE), np.zeros(count)
        self.explained = np.zeros(len(matches.boxes), np.bool_)
        for boxes, objects, ious in matches.pairs():
            scores = matches.boxes.scores[boxes, None]
            same = matches.boxes.class_id[boxes, None] == matches.objects.class_id[objects]
            self.own[objects], self.own_score[objects] = _best(scores, same & (ious >= IOU), boxes)
            self.other[objects], self.other_score[objects] = _best(
                scores, ~same & (ious >= IOU), boxes
            )
            around = same & (ious >= BACKGROUND_IOU) & (scores >= confidence)
            self.near[objects], _ = _best(ious, around, boxes)
            self.near_iou[objects] = np.where(around, ious, 0).max(axis=0)
            nearest = same & (ious == self.near_iou[objects]) & around
            self.explained[boxes] = ((ious >= IOU) | nearest).any(axis=1)


def _best(values: Floats, chosen: Booleans, boxes: Indices) -> tuple[Indices, Floats]:
    """Return the chosen box with the highest value for each object, or ``NONE``, and the value."""
    kept = np.where(chosen, values, 0.0)
    best = kept.max(axis=0)
    return np.where(best > 0, boxes[kept.argmax(axis=0)], NONE), best


def _doubtful_labels(matches: Matches, seen: _Seen) -> Iterator[LabelError]:
    """Yield the labels in doubt, each with the kind that is most suspicious."""
    objects, boxes = matches.objects, matches.boxes
    counted = ~objects.ignored
    near_score = np.where(seen.near != NONE, boxes.scores[seen.near], 0.0) if len(boxes) else 0.0
    by_kind = {
        WRONG_CLASS: _class_suspicion(seen),
        SHIFTED: near_score * np.minimum(1, 2 * (1 - seen.near_iou)) * (seen.near_iou < GOOD_IOU),
        UNFOUND: _unfound_suspicion(matches, seen),
    }
    evidence = {WRONG_CLASS: seen.other, SHIFTED: seen.near, UNFOUND: np.full(len(objects), NONE)}
    suspicion = np.stack(list(by_kind.values())) * counted
    worst = suspicion.argmax(axis=0)
    for place in np.flatnonzero(suspicion.max(axis=0, initial=0) > 0).tolist():
        kind = list(by_kind)[worst[place]]
        box = int(evidence[kind][place])
        yield LabelError(
            image_id=matches.image_ids[objects.image[place]],
            kind=kind,
            suspicion=float(suspicion[worst[place], place]),
            box_xyxy=_box(objects.boxes_xywh[place]),
            label_class=matches.names[objects.class_id[place]],
            **_evidence(matches, box),
        )


def _class_suspicion(seen: _Seen) -> Floats:
    """Return the share of another class in the scores of both, where it is the greater one."""
    other = np.where(seen.other_score >= seen.confidence, seen.other_score, 0.0)
    both = other + seen.own_score
    share = np.divide(other, both, out=np.zeros(len(both)), where=both > 0)
    return np.where(share > 0.5, share, 0.0)


def _unfound_suspicion(matches: Matches, seen: _Seen) -> Floats:
    """Return half the share of the class that is found, less the score of what is on the object."""
    objects = matches.objects
    hidden = unseen(matches, seen.confidence)
    classes = len(matches.names)
    total = np.bincount(objects.class_id[~objects.ignored], minlength=classes)
    missed = np.bincount(objects.class_id[hidden], minlength=classes)
    found_share = 1 - missed / np.maximum(total, 1)
    score = np.maximum(seen.own_score, seen.other_score)
    nothing_on_it = hidden & (score < seen.confidence)
    return np.where(nothing_on_it, found_share[objects.class_id] / 2 * (1 - score), 0.0)


def _missing_labels(matches: Matches, seen: _Seen) -> Iterator[LabelError]:
    """Yield boxes without a label; of boxes on each other only the best."""
    boxes = matches.boxes
    alone = boxes.wrong & ~seen.explained & (boxes.scores >= seen.confidence)
    places = np.flatnonzero(alone)
    for group in np.split(places, np.flatnonzero(np.diff(boxes.image[places])) + 1):
        for place in _apart(boxes.boxes_xywh, group):
            yield LabelError(
                image_id=matches.image_ids[boxes.image[place]],
                kind=MISSING,
                suspicion=float(boxes.scores[place]),
                box_xyxy=_box(boxes.boxes_xywh[place]),
                label_class=None,
                **_evidence(matches, place),
            )


def _apart(boxes_xywh: Floats, places: Indices) -> list[int]:
    """Return the boxes of an image, best first, that lie on no better one."""
    ious = pairwise_iou(boxes_xywh[places], boxes_xywh[places])
    kept: list[int] = []
    for number in range(len(places)):
        if not (ious[number, kept] >= IOU).any():
            kept.append(number)
    return [int(place) for place in places[kept]]


def _evidence(matches: Matches, box: int) -> dict[str, Any]:
    if box == NONE:
        return {"predicted_class": None, "predicted_box_xyxy": None, "score": None}
    boxes = matches.boxes
    return {
        "predicted_class": matches.names[boxes.class_id[box]],
        "predicted_box_xyxy": _box(boxes.boxes_xywh[box]),
        "score": float(boxes.scores[box]),
    }


def _box(box_xywh: Floats) -> Box:
    left, top, right, bottom = to_xyxy(box_xywh[None])[0].round(2).tolist()
    return left, top, right, bottom
