"""Weighted boxes fusion (Solovyev et al., arXiv 1910.13302): overlapping boxes become their mean.

The paper fuses the boxes of several models, and its last step multiplies the score of a cluster by
min(boxes, models) / models. Here there is one model, so that this factor is always 1.
"""

from __future__ import annotations

import numpy as np

from detector.runtime.nms.clusters import Float64, Indices, by_group
from detector.settings.nms import NmsSettings
from detector.structures.boxes_numpy import iou


def fuse_boxes(
    boxes_xyxy: Float64, scores: Float64, groups: Indices, settings: NmsSettings
) -> tuple[Float64, Float64, Indices]:
    """Replace boxes of a group that overlap by their mean, weighted by score (section 3).

    Args:
        boxes_xyxy: (m, 4), best first.
        scores: (m,) descending.
        groups: (m,) group numbers; only boxes of the same group are fused.
        settings: ``iou`` threshold and ``max_detections``.

    Returns:
        (k, 4) mean boxes, (k,) mean scores, descending, and (k,) index of each cluster's best box.
    """
    fused = [
        (*_clusters(boxes_xyxy[members], scores[members], settings.iou), members)
        for members in by_group(groups)
    ]
    means = np.concatenate([boxes for boxes, _, _, _ in fused])
    values = np.concatenate([scores for _, scores, _, _ in fused])
    first = np.concatenate([members[first] for _, _, first, members in fused])
    order = np.lexsort((first, -values))[: settings.max_detections]
    return means[order], values[order], first[order]


def _clusters(
    boxes_xyxy: Float64, scores: Float64, threshold: float
) -> tuple[Float64, Float64, Indices]:
    """Return the mean box, the mean score and the first member of each cluster.

    A box joins the cluster whose current mean overlaps it most, if their IoU is above the
    threshold; otherwise it starts a new cluster.
    """
    means, weighted = np.empty_like(boxes_xyxy), np.zeros_like(boxes_xyxy)
    weights, counts = np.zeros(len(scores)), np.zeros(len(scores))
    first: list[int] = []
    for index, (box, score) in enumerate(zip(boxes_xyxy, scores, strict=True)):
        overlaps = iou(box, means[: len(first)])
        cluster = int(overlaps.argmax()) if first else 0
        if not first or overlaps[cluster] <= threshold:
            cluster = len(first)
            first.append(index)
            means[cluster] = box
        weighted[cluster] += score * box
        weights[cluster] += score
        counts[cluster] += 1
        if weights[cluster] > 0:  # all scores may be 0: the mean stays the first box
            means[cluster] = weighted[cluster] / weights[cluster]
    k = len(first)
    return means[:k], weights[:k] / counts[:k], np.array(first, np.int64)
