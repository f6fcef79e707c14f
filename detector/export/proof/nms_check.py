"""A file's NMS compared with ours, by itself.

What a network finds in a few images may be next to nothing, and then the suppression behind it has
nothing to do. So boxes are drawn for it: groups that overlap about as much as the threshold asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.export.proof.comparison import ArrayFunction, InputBatch
from detector.runtime.backends.backend import Arrays
from detector.runtime.backends.exported import filter_after_nms
from detector.runtime.nms.nms import nms
from detector.settings import NmsSettings
from detector.utils.errors import DetectorError

GROUP = 8
"""Boxes of one class that overlap."""
MOST_GROUPS = 200
NEAR, FAR = 5e-3, 0.1
"""How far the overlaps of a group lie from the threshold at most: of one half, of the other. A
third of the scores are as near to the confidence."""
SECOND_CLASSES = 0.25
"""Part of the boxes that have a score for a second class, too."""


@dataclass(frozen=True)
class Parts:
    """A file that holds the suppression, apart.

    Attributes:
        network: (b, 3, h, w) images → what stands before the suppression.
        nms: boxes_xyxy (b, n, 4), scores (b, n, classes) → what the file gives.
    """

    network: ArrayFunction
    nms: ArrayFunction


def check_nms(parts: Parts, settings: NmsSettings, images: InputBatch) -> None:
    """Compare a file's NMS with ours on drawn boxes, as many as the network gives.

    Once on so few groups that all that is left is kept, once on many.

    Raises:
        DetectorError: they keep different boxes.
    """
    batch, count, classes = parts.network(images)[1].shape
    most = max(min(count // GROUP, MOST_GROUPS), 1)
    rng = np.random.default_rng(0)
    for groups in (min(max(settings.max_detections // GROUP, 1), most), most):
        drawn = [
            random_boxes(rng, count, classes, groups, max(images.shape[2:]), settings)
            for _ in range(batch)
        ]
        boxes_xyxy, scores = (np.stack(part) for part in zip(*drawn, strict=True))
        found = parts.nms(boxes_xyxy, scores)
        for index in range(batch):
            ours: Arrays = nms(boxes_xyxy[index], scores[index], settings)
            rows = [part[index] for part in found]
            its: Arrays = filter_after_nms(rows[0], rows[1], rows[2], settings)
            if not all(map(np.array_equal, ours, its)):
                raise DetectorError(
                    f"the exported file's NMS keeps {len(its[1])} drawn boxes, "
                    f"detector.runtime.nms.nms other {len(ours[1])}; nothing was written"
                )


def random_boxes(
    rng: np.random.Generator,
    count: int,
    classes: int,
    groups: int,
    side: int,
    settings: NmsSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Groups of boxes of one size and class, moved along x, at random places among the others.

    Two boxes of width w, one moved by t · w, have the IoU (1 − t) / (1 + t). Half of all scores are
    above the confidence; what is not drawn has no score and no size.

    Args:
        rng: draws.
        count: of all boxes, n.
        classes: their number.
        groups: of ``GROUP`` boxes each, as far as there are as many boxes.
        side: of the image, pixels.
        settings: the thresholds.

    Returns:
        boxes_xyxy (n, 4), scores (n, classes).
    """
    boxes_xyxy = np.zeros((count, 4), np.float32)
    scores = np.full((count, classes), -1, np.float32)
    places = rng.permutation(count)[: groups * GROUP]
    group = np.arange(len(places)) // GROUP
    corners = rng.uniform(0, side, (groups, 2))[group]
    sides = rng.uniform(side / 50, side / 4, (groups, 2))[group]
    reach = np.where(np.arange(len(places)) % 2, NEAR, FAR)
    overlap = np.clip(settings.iou + rng.uniform(-reach, reach), 0.01, 1)
    moved = (1 - overlap) / (1 + overlap) * (np.arange(len(places)) % GROUP > 0)
    corners[:, 0] += moved * sides[:, 0]
    boxes_xyxy[places] = np.concatenate([corners, corners + sides], axis=1)
    spread = np.where(np.arange(len(places)) % 3, 0.5, NEAR)
    values = settings.confidence + rng.uniform(-spread, spread, (2, len(places)))
    scores[places, rng.integers(classes, size=groups)[group]] = values[0]
    second = rng.random(len(places)) < SECOND_CLASSES
    scores[places[second], rng.integers(classes, size=int(second.sum()))] = values[1, second]
    return boxes_xyxy, scores
