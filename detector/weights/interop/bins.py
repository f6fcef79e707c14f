"""Numbers of the bins of a distance, which heads of other projects store beside their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from detector.utils.errors import DetectorError


def without_bins(
    state: Mapping[str, Tensor], names: tuple[str, ...], what: str
) -> dict[str, Tensor]:
    """Return the weights without the numbers of the bins, which are 0, 1, … in every network here.

    Args:
        state: tensors by name.
        names: names of the tensors that hold them, where they are stored.
        what: name of the weights in errors.

    Raises:
        DetectorError: they are other numbers.
    """
    for name in names:
        bins = state.get(name)
        if bins is not None and not torch.equal(bins.flatten(), torch.arange(float(bins.numel()))):
            raise DetectorError(f"{what} weights: {name!r} is not 0, 1, …, {bins.numel() - 1}")
    return {name: tensor for name, tensor in state.items() if name not in names}
