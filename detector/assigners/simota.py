"""SimOTA assignment (YOLOX, arXiv 2107.08430, section 2.1), on points or, as in YOLOv7, anchors."""

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
"""Weight of −log IoU in the cost; the classes' cross-entropy has weight 1."""
COUNTED_IOUS = 10
"""Number of a target's largest IoUs whose sum, rounded down, is its number of predictions."""
MIN_IOU = 1e-8
"""Lower limit of the IoU in the logarithm."""


class SimOtaAssigner(Generic[PointsT_contra]):
    """Assigner of each target to its candidates of lowest cost, their number set by their IoUs.

    The cost of a candidate is the binary cross-entropy of its classes plus 3 · (−log IoU). Each
    target takes its k candidates of lowest cost, where k is the sum of its 10 largest IoUs, rounded
    down, but at least 1; a prediction taken by several targets goes to the one of lowest cost.
    Unlike in YOLOX and YOLOv7, a target never takes another target's candidate, whose place may be
    unable to predict its box.

    Args:
        candidates: rule that finds the candidate predictions of each target.
        score_exponent: exponent that turns scores into class probabilities: ½ if a score is the
            product of objectness and class probability, as in both papers; 1 if it is the latter.
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
    """Return the binary cross-entropy summed over classes: (k, classes), (k,) → (k,)."""
    target = F.one_hot(class_ids, probability.shape[1]).to(probability.dtype)
    return F.binary_cross_entropy(probability, target, reduction="none").sum(-1)


def _budgets(overlap: Tensor, pairs: Assignment, targets: int) -> Tensor:
    """Return, for each pair, the number of predictions that its target takes, (k,)."""
    counted = rank_within(-overlap, pairs.target) < COUNTED_IOUS
    total = overlap.new_zeros(targets).index_add(0, pairs.target[counted], overlap[counted])
    return total.long().clamp(min=1)[pairs.target]
