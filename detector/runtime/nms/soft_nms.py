"""Soft-NMS (Bodla et al., arXiv 1704.04503): beside a better box, a box loses score only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detector.runtime.nms.clusters import Float64, Indices, by_group
from detector.settings import NmsSettings
from detector.structures.boxes_numpy import iou

Decay = Callable[[Float64], Float64]
"""(n,) IoU with a box that was taken → (n,) factors of the scores."""


def soft_nms(
    boxes_xyxy: Float64, scores: Float64, groups: Indices, settings: NmsSettings
) -> tuple[Indices, Float64]:
    """Lower the scores of boxes that overlap better ones of their group.

    Args:
        boxes_xyxy: (m, 4).
        scores: (m,) descending.
        groups: (m,).
        settings: thresholds; boxes that fall below ``confidence`` are dropped.

    Returns:
        (k,) indices by lowered score, best first, and (k,) those scores; equal ones by index.
    """
    if settings.nms_method == "soft-linear":
        decay = linear(settings.iou)
    else:
        decay = gaussian(settings.sigma)
    confidence = float(np.float32(settings.confidence))  # as it was compared with float32 scores
    found = [
        (-score, members[index])
        for members in by_group(groups)
        for score, index in _taken(
            boxes_xyxy[members], scores[members], decay, confidence, settings.max_detections
        )
    ]
    found = sorted(found)[: settings.max_detections]
    return np.array([i for _, i in found], np.int64), np.array([-score for score, _ in found])


def linear(threshold: float) -> Decay:
    """The paper's first form: 1 − IoU from the threshold on, else 1."""
    return lambda overlap: np.where(overlap >= threshold, 1 - overlap, 1)


def gaussian(sigma: float) -> Decay:
    """The paper's second form: exp(−IoU² / σ), without a threshold."""
    return lambda overlap: np.exp(-np.square(overlap) / sigma)


def _taken(
    boxes_xyxy: Float64, scores: Float64, decay: Decay, confidence: float, limit: int
) -> list[tuple[float, int]]:
    """Take the best box and lower the others' scores, again and again (the paper's metric 2)."""
    scores = scores.copy()
    taken: list[tuple[float, int]] = []
    while len(taken) < min(limit, len(scores)):
        best = int(scores.argmax())
        if scores[best] < confidence:
            break
        taken.append((float(scores[best]), best))
        scores *= decay(iou(boxes_xyxy[best], boxes_xyxy))
        scores[[index for _, index in taken]] = -1
    return taken
