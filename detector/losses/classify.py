"""Classification loss: cross-entropy, and a tenth of that of each auxiliary classifier."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.heads.head import AUXILIARY
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets
from detector.utils.collectives import all_reduce_sum

AUXILIARY_WEIGHT = 0.1
"""Weight of each auxiliary classifier's loss, as in RepVGGplus."""


class ClassifyLoss:
    """Loss of a Classify head.

    Args:
        settings: gives the label smoothing ε: the target probability of the true class is
            1 − ε + ε / classes.
    """

    def __init__(self, settings: LossSettings) -> None:
        self.label_smoothing = settings.label_smoothing

    def __call__(self, raw_outputs: dict[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of a batch, averaged over its images.

        In distributed training the mean is over the images of all processes: each process returns
        its part of the sum.

        Args:
            raw_outputs: ``logits`` (b, classes), and optionally ``auxiliary``, a list of the same.
            targets: one target per image, in the order of the images.

        Returns:
            ``loss_class``, and ``loss_auxiliary`` where there are auxiliary classifiers.
        """
        losses = {"loss_class": self._entropy(raw_outputs["logits"], targets)}
        parts = [self._entropy(logits, targets) for logits in raw_outputs.get(AUXILIARY, ())]
        if parts:
            losses["loss_auxiliary"] = AUXILIARY_WEIGHT * torch.stack(parts).sum()
        return losses

    def _entropy(self, logits: Tensor, targets: Targets) -> Tensor:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        entropy = F.cross_entropy(
            logits, targets.class_ids, reduction="sum", label_smoothing=self.label_smoothing
        )
        return entropy / all_reduce_sum(entropy.new_tensor(len(logits)))
