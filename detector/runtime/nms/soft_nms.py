"""Soft-NMS (Bodla et al., arXiv 1704.04503): overlapping boxes lose score and are not removed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detector.runtime.nms.clusters import Float64, Indices, by_group
from detector.settings.nms import NmsSettings
from detector.structures.boxes_numpy import iou

Decay = Callable[[Float64], Float64]
"""Function from (n,) IoUs with a selected box to (n,) factors of the scores."""


def soft_nms(
    boxes_xyxy: Float64, scores: Float64, groups: Indices, settings: NmsSettings
) -> tuple[Indices, Float64]:
    """Lower the scores of boxes that overlap better ones of their group.

    Args:
        boxes_xyxy: (m, 4).
        scores: (m,) descending.
        groups: (m,) group numbers; only boxes of the same group affect each other.
        settings: thresholds; boxes whose score falls below ``confidence`` are dropped.

    Returns:
        (k,) indices, ordered by lowered score, best first, ties by index; and (k,) lowered scores.
    """
    if settings.nms_method == "soft-linear":
        decay = linear(settings.iou)
    else:
        decay = gaussian(settings.sigma)
    # Rounded to float32, as in the comparison that selected the candidates.
    confidence = float(np.float32(settings.confidence))
    found = [
        (-score, members[index])
        for members in by_group(groups)
        for score, index in _select(
            boxes_xyxy[members], scores[members], decay, confidence, settings.max_detections
        )
    ]
    found = sorted(found)[: settings.max_detections]
    return np.array([i for _, i in found], np.int64), np.array([-score for score, _ in found])


def linear(threshold: float) -> Decay:
    """Return the paper's linear decay: 1 − IoU at or above the threshold, else 1."""
    return lambda overlap: np.where(overlap >= threshold, 1 - overlap, 1)


def gaussian(sigma: float) -> Decay:
    """Return the paper's Gaussian decay: exp(−IoU² / σ), without a threshold."""
    return lambda overlap: np.exp(-np.square(overlap) / sigma)


def _select(
    boxes_xyxy: Float64, scores: Float64, decay: Decay, confidence: float, limit: int
) -> list[tuple[float, int]]:
    """Select the best box and lower the scores of the others, repeatedly (figure 2 of the paper).

    Returns:
        (score, index) of each selected box, in the order of selection.
    """
    scores = scores.copy()
    selected: list[tuple[float, int]] = []
    while len(selected) < min(limit, len(scores)):
        best = int(scores.argmax())
        if scores[best] < confidence:
            break
        selected.append((float(scores[best]), best))
        scores *= decay(iou(boxes_xyxy[best], boxes_xyxy))
        scores[[index for _, index in selected]] = -1
    return selected
