"""SimOTA (YOLOX, arXiv 2107.08430, section 2.1), on points or, as YOLOv7 does, on anchors."""

from __future__ import annotations

from typing import Generic

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners.assigner import CandidateRule, PointsT_contra, Predictions
from detector.assigners.assignment import Assignment, one_target_each, rank_within
from detector.assigners.candidates import near_centre
from detector.structures.boxes import iou
from detector.structures.samples import Targets

IOU_WEIGHT = 3.0
"""Weight of −log IoU in the cost, beside the classes' cross-entropy."""
COUNTED_IOUS = 10
"""A target gets as many predictions as the sum of its so many largest IoUs, rounded down."""
MIN_IOU = 1e-8


class SimOtaAssigner(Generic[PointsT_contra]):
    """Give a target the cheapest of its candidates, the more of them the better they fit.

    A candidate costs the binary cross-entropy of its classes plus 3 · (−log IoU). Each target takes
    its k cheapest candidates, where k, at least 1, is the sum of its 10 largest IoUs; a prediction
    taken by several targets goes to the one it is cheapest for. Unlike in YOLOX and YOLOv7, a
    target never takes another target's candidate: such a place may be unable to give its box.

    Args:
        candidates: finds the predictions that may answer for a target.
        score_exponent: makes probabilities of scores: ½ where a score is the product of objectness
            and class, as in both papers; 1 where it is the class alone.
    """

    def __init__(
        self, candidates: CandidateRule[PointsT_contra] = near_centre, score_exponent: float = 0.5
    ) -> None:
        self.candidates = candidates
        self.score_exponent = score_exponent

    @torch.no_grad()
    def __call__(
        self, targets: Targets, points: PointsT_contra, predictions: Predictions
    ) -> Assignment:
        """Assign a batch's targets; see :class:`detector.assigners.assigner.Assigner`."""
        pairs = self.candidates(targets, points)
        boxes_xyxy, scores = predictions.all_classes(pairs)
        overlap = iou(boxes_xyxy, targets.boxes_xyxy[pairs.target])
        cost = _class_cost(scores**self.score_exponent, targets.class_ids[pairs.target])
        cost = cost - IOU_WEIGHT * overlap.clamp(min=MIN_IOU).log()
        taken = rank_within(cost, pairs.target) < _budgets(overlap, pairs, len(targets))
        return one_target_each(pairs[taken], cost[taken], points)


def _class_cost(probability: Tensor, class_ids: Tensor) -> Tensor:
    """Return the cross-entropy, summed over classes: (k, classes), (k,) → (k,)."""
    target = F.one_hot(class_ids, probability.shape[1]).to(probability.dtype)
    return F.binary_cross_entropy(probability, target, reduction="none").sum(-1)


def _budgets(overlap: Tensor, pairs: Assignment, targets: int) -> Tensor:
    """Return how many predictions the target of each pair takes, (k,)."""
    counted = rank_within(-overlap, pairs.target) < COUNTED_IOUS
    total = overlap.new_zeros(targets).index_add(0, pairs.target[counted], overlap[counted])
    return total.long().clamp(min=1)[pairs.target]
