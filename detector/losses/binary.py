"""Binary losses between logits and targets in 0..1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from detector.settings.heads import BinaryLossName

BinaryLoss = Callable[[Tensor, Tensor], Tensor]
"""Function from logits and targets of one shape to losses of that shape."""


def quality_focal_loss(logits: Tensor, target: Tensor, beta: float = 2.0) -> Tensor:
    """Return |y − σ|^β · BCE(σ, y), for y anywhere in 0..1 (arXiv 2006.04388, equation 5)."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = (target - logits.sigmoid()).abs().pow(beta)
    return weight * entropy


def varifocal_loss(
    logits: Tensor, target: Tensor, alpha: float = 0.75, gamma: float = 2.0
) -> Tensor:
    """Return y · BCE(σ, y) where y > 0, else α · σ^γ · BCE(σ, 0) (arXiv 2008.13367, equation 2).

    As in the authors' code the weights carry no gradient.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    negative = alpha * logits.detach().sigmoid().pow(gamma)
    return torch.where(target > 0, target, negative) * entropy


BINARY_LOSSES: Mapping[BinaryLossName, BinaryLoss] = {
    "bce": partial(F.binary_cross_entropy_with_logits, reduction="none"),
    "focal": sigmoid_focal_loss,  # arXiv 1708.02002, with its α = 0.25 and γ = 2
    "qfl": quality_focal_loss,
}
