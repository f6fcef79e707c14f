"""Suppression by torchvision, for the rule that ``detector.runtime.nms`` states.

torchvision's ``batched_nms`` is not used: it moves the classes apart by adding an offset to the
coordinates, which rounds them and so changes the IoU.
"""

from __future__ import annotations

import numpy as np
import torch
from torchvision.ops import nms as torchvision_nms

from detector.runtime.clusters import by_group
from detector.runtime.nms import Boxes, Indices, Scores
from detector.runtime.nms import nms as numpy_nms
from detector.settings import NmsSettings


def nms(boxes_xyxy: Boxes, scores: Scores, settings: NmsSettings) -> tuple[Boxes, Scores, Indices]:
    """Keep the best boxes of one image; see :func:`detector.runtime.nms.nms`."""
    return numpy_nms(boxes_xyxy, scores, settings, suppress)


def suppress(boxes_xyxy: Boxes, groups: Indices, iou: float, limit: int) -> Indices:
    """As :func:`detector.runtime.nms.suppress`, group by group in torchvision."""
    threshold = float(np.float32(iou))
    falling = torch.arange(len(groups), 0, -1, dtype=torch.float32)  # the order is settled
    kept = []
    for members in by_group(groups):
        boxes = torch.from_numpy(boxes_xyxy[members])
        kept.append(members[torchvision_nms(boxes, falling[: len(members)], threshold).numpy()])
    return np.sort(np.concatenate(kept))[:limit]
