"""Check of the NMS inside a file on random boxes, separately from its network.

A network may find next to nothing in a few images, which leaves its NMS untested. NMS is therefore
also run on random boxes: groups whose IoUs lie close to the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.export.proof.comparison import ArrayFunction, InputBatch
from detector.runtime.backends.backend import Arrays
from detector.runtime.backends.exported import filter_after_nms
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError

GROUP = 8
"""Number of overlapping boxes of one class in a group."""

MOST_GROUPS = 200
"""Maximum number of groups."""

NEAR, FAR = 5e-3, 0.1
"""Largest distances of the IoUs from the threshold, in either half of a group.

A third of the scores are within ``NEAR`` of the confidence threshold.
"""

SECOND_CLASSES = 0.25
"""Fraction of the boxes that have a score for a second class, too."""


@dataclass(frozen=True)
class Parts:
    """Network and NMS of a file, as separate functions.

    Attributes:
        network: function from images (b, 3, h, w) to boxes and scores before NMS.
        nms: function from boxes_xyxy (b, n, 4) and scores (b, n, classes) to the file's outputs.
    """

    network: ArrayFunction
    nms: ArrayFunction


def check_nms(parts: Parts, settings: NmsSettings, images: InputBatch) -> None:
    """Compare a file's NMS with ``detector.runtime.nms.nms`` on random boxes.

    The number of boxes is that of the network. The check is done twice: with so few groups that
    ``max_detections`` does not matter, and with many.

    Raises:
        DetectorError: they keep different boxes.
    """
    batch, count, classes = parts.network(images)[1].shape
    most = max(min(count // GROUP, MOST_GROUPS), 1)
    rng = np.random.default_rng(0)
    for groups in (min(max(settings.max_detections // GROUP, 1), most), most):
        per_image = [
            random_boxes(rng, count, classes, groups, max(images.shape[2:]), settings)
            for _ in range(batch)
        ]
        boxes_xyxy, scores = (np.stack(part) for part in zip(*per_image, strict=True))
        found = parts.nms(boxes_xyxy, scores)
        for index in range(batch):
            ours: Arrays = nms(boxes_xyxy[index], scores[index], settings)
            rows = [part[index] for part in found]
            its: Arrays = filter_after_nms(rows[0], rows[1], rows[2], settings)
            if not all(map(np.array_equal, ours, its)):
                raise DetectorError(
                    f"the exported file's NMS keeps {len(its[1])} random boxes, "
                    f"detector.runtime.nms.nms {len(ours[1])} different ones; nothing was written"
                )


def random_boxes(
    rng: np.random.Generator,
    count: int,
    classes: int,
    groups: int,
    side: int,
    settings: NmsSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return random groups of overlapping boxes, whose IoUs and scores lie close to the thresholds.

    The boxes of a group have one size and class and differ by a shift along x. Two boxes of width
    w, one shifted by t · w, have the IoU (1 − t) / (1 + t). Half of all scores are above the
    confidence threshold. All other boxes have zero size and a score of −1.

    Args:
        rng: random generator.
        count: number of boxes, n.
        classes: number of classes.
        groups: number of groups of ``GROUP`` boxes each; fewer if ``count`` is too small.
        side: side of the image, pixels.
        settings: the thresholds.

    Returns:
        boxes_xyxy (n, 4) and scores (n, classes), groups at random places among the other boxes.
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
