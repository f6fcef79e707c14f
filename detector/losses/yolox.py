"""YOLOX's loss (arXiv 2107.08430, section 2.1): IoU, objectness, classes against the IoU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners import AlignedAssigner, Assigner, Assignment, SimOtaAssigner
from detector.heads.yolox import YOLOXHead
from detector.losses.point_predictions import PointPredictions
from detector.settings.heads import YoloxLossSettings
from detector.structures.boxes import iou, xyxy_to_cxcywh
from detector.structures.points import Points
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum


class YoloxLoss:
    """Box, objectness and class losses of a YOLOXHead, divided by the number of positives.

    They are 1 − IoU², BCE of the objectness against 1 for positives, and BCE of the target's class
    against the IoU. ``l1_gain`` adds the L1 distance of the raw box values from the target's.

    Args:
        head: head that decodes.
        settings: assigner, gains and label smoothing.
    """

    def __init__(self, head: YOLOXHead, settings: YoloxLossSettings) -> None:
        self.head = head
        self.settings = settings
        assigners: dict[str, Assigner[Points]] = {
            "simota": SimOtaAssigner(),
            "aligned": AlignedAssigner(),
        }
        self.assigner = assigners[settings.assigner]

    def __call__(self, raw_outputs: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of a batch.

        In distributed training the number of positives is that of all processes: each returns its
        part of the sum.

        Args:
            raw_outputs: per level (b, h, w, 4 + 1 + classes); b may be 0.
            targets: targets of the batch.

        Returns:
            ``loss_box``, ``loss_objectness``, ``loss_class`` and, with ``l1_gain``, ``loss_l1``:
            scalars that carry gradients.
        """
        predictions = PointPredictions(self.head, raw_outputs)
        pairs = self.assigner(targets, predictions.points, predictions)
        boxes_xyxy = targets.boxes_xyxy[pairs.target].to(predictions.raw.dtype)
        overlap = iou(predictions.boxes(pairs), boxes_xyxy)
        positives = all_reduce_sum(overlap.new_tensor(len(pairs))).clamp(min=1)
        objectness, classes = predictions.logits.split((1, self.head.nc), -1)
        entropies = {
            "loss_box": (1 - overlap.square()).sum() * self.settings.box_gain,
            "loss_objectness": _objectness(objectness[..., 0], pairs)
            * self.settings.objectness_gain,
            "loss_class": self._classes(classes, pairs, targets, overlap.detach())
            * self.settings.class_gain,
        }
        if self.settings.l1_gain:
            distance = _l1(predictions, pairs, boxes_xyxy)
            entropies["loss_l1"] = distance * self.settings.l1_gain
        return {name: value / positives for name, value in entropies.items()}

    def _classes(
        self, logits: Tensor, pairs: Assignment, targets: Targets, overlap: Tensor
    ) -> Tensor:
        """Return the sum of the pairs' entropies: the target's class against the IoU."""
        smoothing = self.settings.label_smoothing / 2
        own = logits[pairs.image, pairs.prediction]
        target = torch.full_like(own, smoothing)
        positive = overlap * (1 - 2 * smoothing) + smoothing
        target.scatter_(1, targets.class_ids[pairs.target, None], positive[:, None])
        return F.binary_cross_entropy_with_logits(own, target, reduction="sum")


def _objectness(logits: Tensor, pairs: Assignment) -> Tensor:
    target = torch.zeros_like(logits)
    target[pairs.image, pairs.prediction] = 1
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")


def _l1(predictions: PointPredictions, pairs: Assignment, boxes_xyxy: Tensor) -> Tensor:
    """Return the L1 distance of raw x, y, w, h from those that decode to the targets, a sum."""
    points = predictions.points
    strides = points.strides[pairs.prediction, None]
    centre, size = xyxy_to_cxcywh(boxes_xyxy).split(2, -1)
    offset = (centre - points.xy[pairs.prediction]) / strides + 0.5
    wanted = torch.cat((offset, (size / strides).clamp(min=1e-8).log()), -1)
    return F.l1_loss(predictions.box_values(pairs), wanted, reduction="sum")
