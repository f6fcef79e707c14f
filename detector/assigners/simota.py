"""SimOTA (YOLOX, arXiv 2107.08430, section 2.1) on anchors, as YOLOv7 does (arXiv 2207.02696)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners.grid import (
    Assignment,
    Grid,
    Predict,
    least_of_each_prediction,
    rank_within,
)
from detector.assigners.ratio import RatioAssigner
from detector.structures.boxes import iou
from detector.structures.samples import Targets

IOU_WEIGHT = 3.0
"""Of −log IoU in the cost, beside the classes' cross-entropy."""
COUNTED_IOUS = 10
"""A truth gets as many predictions as the sum of its so many largest IoUs, rounded down."""
MIN_IOU = 1e-8


class SimOtaAssigner:
    """A truth takes the cheapest of its candidates, the more of them the better they fit.

    Candidates are the pairs of the ratio matching. A pair costs the binary cross-entropy of its
    classes, whose probabilities are √(objectness · class), plus 3 · (−log IoU). Each truth takes
    its k cheapest pairs, where k, at least 1, is the sum of its 10 largest IoUs; a prediction
    taken by several truths goes to the one it is cheapest for. Unlike in YOLOv7, a truth never
    takes another truth's candidate: such a cell and anchor may be unable to give its box.

    Args:
        prior: finds the candidates.
    """

    def __init__(self, prior: RatioAssigner) -> None:
        self.prior = prior

    @torch.no_grad()
    def __call__(self, targets: Targets, grid: Grid, predict: Predict) -> Assignment:
        """Assign a batch's targets."""
        pairs = self.prior(targets, grid)
        boxes_xyxy, logits = predict(pairs)
        overlap = iou(boxes_xyxy, targets.boxes_xyxy[pairs.target])
        cost = _class_cost(logits, targets.class_ids[pairs.target])
        cost = cost - IOU_WEIGHT * overlap.clamp(min=MIN_IOU).log()
        taken = rank_within(cost, pairs.target) < _budgets(overlap, pairs, len(targets))
        return least_of_each_prediction(pairs[taken], cost[taken], grid)


def _class_cost(logits: Tensor, class_ids: Tensor) -> Tensor:
    """(k, 1 + classes) logits, (k,) classes → (k,) cross-entropy, summed over the classes."""
    probability = (logits[:, :1].sigmoid() * logits[:, 1:].sigmoid()).sqrt()
    truth = F.one_hot(class_ids, probability.shape[1]).to(probability.dtype)
    return F.binary_cross_entropy(probability, truth, reduction="none").sum(-1)


def _budgets(overlap: Tensor, pairs: Assignment, truths: int) -> Tensor:
    """(k,) how many predictions the truth of each pair takes."""
    counted = rank_within(-overlap, pairs.target) < COUNTED_IOUS
    total = overlap.new_zeros(truths).index_add(0, pairs.target[counted], overlap[counted])
    return total.long().clamp(min=1)[pairs.target]
