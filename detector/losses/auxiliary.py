"""Loss of a head with an auxiliary one: the main head's losses, and a share of the other's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detector.heads.auxiliary import MAIN
from detector.heads.head import AUXILIARY
from detector.structures.samples import Targets

Losses = Callable[[Any, Targets], dict[str, Tensor]]


class AuxiliaryLoss:
    """Losses of both heads of an AuxiliaryHead.

    Args:
        main: loss of the main head.
        auxiliary: loss of the auxiliary head.
        weight: factor of the auxiliary losses.
    """

    def __init__(self, main: Losses, auxiliary: Losses, weight: float) -> None:
        self.main = main
        self.auxiliary = auxiliary
        self.weight = weight

    def __call__(self, raw_outputs: dict[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Return the main head's losses of a batch, and ``loss_auxiliary``, the sum of the other's.

        Args:
            raw_outputs: ``main`` and ``auxiliary``.
            targets: targets of the batch.
        """
        losses = self.main(raw_outputs[MAIN], targets)
        others = self.auxiliary(raw_outputs[AUXILIARY], targets)
        total = torch.stack(list(others.values())).sum()
        return {**losses, "loss_auxiliary": self.weight * total}
