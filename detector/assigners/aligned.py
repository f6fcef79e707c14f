"""Task-aligned assignment (TOOD, arXiv 2108.07755, section 3.2.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import torch
from torch import Tensor

from detector.assigners.assigner import CandidateRule, PointsT_contra, Predictions
from detector.assigners.assignment import Assignment, one_target_each, rank_within
from detector.assigners.candidates import inside_box
from detector.structures.boxes import iou
from detector.structures.samples import Targets


class AlignedAssigner(Generic[PointsT_contra]):
    """Assigner of each target to the predictions with the best score and IoU combined.

    The alignment of a candidate is t = s^α · u^β, with s the score of the target's class and u the
    overlap. Each target takes the ``top`` candidates of largest alignment above 0, but at least
    one; ties are resolved in favour of the first. A prediction taken by several targets goes to the
    one of largest overlap.

    Args:
        alpha: exponent of the score.
        beta: exponent of the overlap.
        top: largest number of predictions per target.
        candidates: rule that finds the candidate predictions of each target.
        overlap: measure of the overlap, pair by pair; what is below 0 counts as 0.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 6.0,
        top: int = 13,
        candidates: CandidateRule[PointsT_contra] = inside_box,
        overlap: Callable[[Tensor, Tensor], Tensor] = iou,
    ) -> None:
        self.alpha = alpha
        self.beta = beta
        self.top = top
        self.candidates = candidates
        self.overlap = overlap

    @torch.no_grad()
    def __call__(
        self, targets: Targets, points: PointsT_contra, predictions: Predictions
    ) -> Assignment:
        """Assign a batch's targets; see :class:`detector.assigners.assigner.Assigner`."""
        pairs = self.candidates(targets, points)
        boxes_xyxy, scores = predictions.one_class(pairs, targets.class_ids[pairs.target])
        overlap = self.overlap(boxes_xyxy, targets.boxes_xyxy[pairs.target]).clamp(min=0)
        alignment = scores**self.alpha * overlap**self.beta
        rank = rank_within(-alignment, pairs.target)
        taken = (rank < self.top) & ((alignment > 0) | (rank == 0))
        return one_target_each(pairs[taken], -overlap[taken], points)
