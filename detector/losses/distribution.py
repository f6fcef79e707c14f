"""Loss of heads of distances: aligned classes, CIoU, and distribution focal loss where bins are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners import AlignedAssigner, Assigner, Assignment, SimOtaAssigner
from detector.heads.distribution import DistanceHead
from detector.losses.binary import varifocal_loss
from detector.losses.point_predictions import PointPredictions
from detector.settings.heads import DistributionLossSettings
from detector.structures.boxes import complete_iou
from detector.structures.points import Points
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum
from detector.utils.errors import DetectorError

ALPHA, BETA, TOP = 0.5, 6.0, 10
"""Exponents of score and CIoU in the alignment, predictions of a target (as in YOLOv8 and 9)."""
LAST_BIN_MARGIN = 0.01
"""Distance of a target from the last bin, so that it lies between two bins."""


class DistributionLoss:
    """Losses of a DistanceHead: classes (BCE, varifocal), boxes (1 − CIoU) and their distributions.

    A pair's quality is its alignment (TOOD, arXiv 2108.07755, section 3.2.2), score^½ · CIoU⁶,
    scaled so that the best pair of a target has the quality of that target's largest CIoU. It is
    the target of the pair's class and the weight of its box; all is divided by its sum. Distances
    without bins have no focal loss.

    Args:
        head: head that decodes.
        settings: assigner, gains and label smoothing.

    Raises:
        DetectorError: ``dfl_gain`` is set where it would have no effect.
    """

    def __init__(self, head: DistanceHead, settings: DistributionLossSettings) -> None:
        _check_settings(head, settings)
        self.head = head
        self.settings = settings
        assigners: dict[str, Assigner[Points]] = {
            "aligned": AlignedAssigner(ALPHA, BETA, TOP, overlap=complete_iou),
            "simota": SimOtaAssigner(score_exponent=1.0),
        }
        self.assigner = assigners[settings.assigner]

    def __call__(self, raw_outputs: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of a batch.

        In distributed training the divisor is that of all processes: each returns its part.

        Args:
            raw_outputs: per level (b, h, w, box values + classes); b may be 0.
            targets: targets of the batch.

        Returns:
            ``loss_box``, ``loss_class`` and, with bins, ``loss_dfl``: scalars that carry gradients.
        """
        predictions = PointPredictions(self.head, raw_outputs)
        pairs = self.assigner(targets, predictions.points, predictions)
        class_ids = targets.class_ids[pairs.target]
        boxes_xyxy = targets.boxes_xyxy[pairs.target].to(predictions.raw.dtype)
        found_xyxy, scores = predictions.one_class(pairs, class_ids)
        overlap = complete_iou(found_xyxy, boxes_xyxy)
        quality = normalized_alignment(
            scores.detach(), overlap.detach().clamp(min=0), pairs, len(targets)
        )
        total = all_reduce_sum(quality.sum()).clamp(min=1)
        box = ((1 - overlap) * quality).sum()
        classes = self._classes(predictions.logits, pairs, class_ids, quality)
        losses = {
            "loss_box": box / total * self.settings.box_gain,
            "loss_class": classes / total * self.settings.class_gain,
        }
        if self.head.bins:
            distances = self._distances(predictions, pairs, boxes_xyxy)
            dfl = (distribution_focal_loss(*distances) * quality).sum()
            losses["loss_dfl"] = dfl / total * self.settings.dfl_gain
        return losses

    def _distances(
        self, predictions: PointPredictions, pairs: Assignment, boxes_xyxy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (k, 4, bins) and targets (k, 4) of the distances, in strides."""
        xy = predictions.points.xy[pairs.prediction]
        strides = predictions.points.strides[pairs.prediction, None]
        left_top, right_bottom = boxes_xyxy.split(2, -1)
        wanted = torch.cat((xy - left_top, right_bottom - xy), -1) / strides
        logits = predictions.box_values(pairs).unflatten(-1, (4, -1))
        return logits, wanted.clamp(0, self.head.bins - 1 - LAST_BIN_MARGIN)

    def _classes(
        self, logits: Tensor, pairs: Assignment, class_ids: Tensor, quality: Tensor
    ) -> Tensor:
        """Return the sum of all predictions' losses; the targets are the pairs' qualities."""
        target = torch.zeros_like(logits)
        target[pairs.image, pairs.prediction, class_ids] = quality.to(logits.dtype)
        if self.settings.class_loss == "varifocal":
            return varifocal_loss(logits, target).sum()
        smoothing = self.settings.label_smoothing / 2
        if smoothing:
            target = target * (1 - 2 * smoothing) + smoothing
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")


def _check_settings(head: DistanceHead, settings: DistributionLossSettings) -> None:
    if settings.class_loss == "varifocal" and settings.label_smoothing:
        raise DetectorError(
            f"label_smoothing {settings.label_smoothing}: class_loss varifocal has qualities as "
            "targets, which are not smoothed; omit one of both"
        )
    fields = DistributionLossSettings.model_fields
    if not head.bins and settings.dfl_gain != fields["dfl_gain"].default:
        raise DetectorError(
            f"dfl_gain {settings.dfl_gain}: this head predicts distances without bins, "
            "which have no distribution focal loss"
        )


def normalized_alignment(
    scores: Tensor, overlap: Tensor, pairs: Assignment, targets: int
) -> Tensor:
    """Return the alignment of pairs, scaled to the largest overlap of each target.

    Args:
        scores: (k,) scores of the targets' classes.
        overlap: (k,) overlap of boxes and targets, at least 0.
        pairs: k pairs.
        targets: number of targets.
    """
    alignment = scores**ALPHA * overlap**BETA
    best_alignment, best_overlap = (
        values.new_zeros(targets).scatter_reduce(0, pairs.target, values, "amax")[pairs.target]
        for values in (alignment, overlap)
    )
    return alignment * best_overlap / best_alignment.clamp(min=torch.finfo(overlap.dtype).tiny)


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Return −((⌈y⌉ − y) log Sᵢ + (y − ⌊y⌋) log Sᵢ₊₁), a mean over sides (arXiv 2006.04388, eq. 6).

    Args:
        logits: (k, sides, bins).
        distances: (k, sides) from 0 to below bins − 1.

    Returns:
        (k,) losses.
    """
    log_probability = logits.log_softmax(-1)
    lower = distances.floor()
    bins = torch.stack((lower, lower + 1), -1).long()
    share = distances - lower
    weights = torch.stack((1 - share, share), -1)
    return -(log_probability.gather(-1, bins) * weights).sum(-1).mean(-1)
