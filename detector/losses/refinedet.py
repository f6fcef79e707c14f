"""RefineDet's loss (arXiv 1711.06897, section 3.3): SSD's on each of the two refinements."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from detector.assigners import IouAssigner
from detector.heads.default_boxes import join_levels
from detector.heads.refinedet import RefineDetHead, objectness
from detector.losses.multibox import Prediction, in_full_precision, multibox_losses
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets


class RefineDetLoss:
    """Loss of a RefineDetHead, with hard negative mining on both stages.

    The first stage matches targets of any class with the default boxes. The second one matches them
    with the refined boxes, as they are, and mines no negative whose objectness is under the head's
    threshold.

    Args:
        head: head that gives default boxes, variances and threshold.
        settings: gives the label smoothing of the classes.
    """

    def __init__(self, head: RefineDetHead, settings: LossSettings) -> None:
        self.head = head
        self.assigner = IouAssigner()
        self.label_smoothing = settings.label_smoothing

    def __call__(self, raw_outputs: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of a batch, each divided by the number of its stage's positive boxes.

        Args:
            raw_outputs: per level (b, h, w, boxes, 10 + 1 + classes).
            targets: targets of the batch.

        Returns:
            ``loss_refine_box``, ``loss_objectness`` of the first stage, ``loss_box``,
            ``loss_class`` of the second: scalars that carry gradients.
        """
        raw = self.head.split(in_full_precision(join_levels(raw_outputs)))
        variances, batch = self.head.variances, len(raw.offsets)
        default_xyxy = self.head.default_boxes(raw_outputs).to(raw.offsets.dtype)
        refine_box, binary = multibox_losses(
            Prediction(raw.refinement, raw.objectness, default_xyxy),
            replace(targets, class_ids=torch.zeros_like(targets.class_ids)),
            self.assigner(targets, default_xyxy, batch),
            variances,
        )
        refined_xyxy = self.head.refined_boxes(raw, default_xyxy).detach()
        box, entropy = multibox_losses(
            Prediction(raw.offsets, raw.classes, refined_xyxy),
            targets,
            self.assigner(targets, refined_xyxy, batch),
            variances,
            self.label_smoothing,
            usable=objectness(raw).detach() >= self.head.threshold,
        )
        return {
            "loss_refine_box": refine_box,
            "loss_objectness": binary,
            "loss_box": box,
            "loss_class": entropy,
        }
