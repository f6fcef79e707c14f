"""Average of the last epochs' weights (stochastic weight averaging, arXiv 1803.05407).

The mean of the network's own weights at the ends of the last epochs, by torch's AveragedModel: not
of the moving average, which has forgotten the earlier of them. The statistics of its batch norms
are computed anew (section 3.2), from training images that are fitted as in validation: all
processes of a run compute the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from detector.data.dataset import DetectionDataset
from detector.engine.norm_statistics import fitted_batches
from detector.model.detector import Detector

IMAGES = 256
"""Largest number of training images that the statistics are taken from."""


class LastEpochs:
    """Average of the weights at the ends of a run's last epochs.

    Args:
        model: the network, whose copy holds the average.
        device: of the copy.
        first: the first epoch that counts, from 1.
        frozen: number of first rows that are not trained; their statistics stay, too.
    """

    def __init__(self, model: Detector, device: torch.device, first: int, frozen: int) -> None:
        self.average = AveragedModel(model, device).eval()
        self.first = first
        self.frozen = frozen

    @property
    def count(self) -> int:
        """Number of epochs in the average."""
        return int(self.average.n_averaged)

    def add(self, model: Detector, epoch: int) -> None:
        """Add the weights at the end of an epoch, if it is one of the last."""
        if epoch >= self.first:
            self.average.update_parameters(model)

    def finished(self, dataset: DetectionDataset) -> Detector:
        """Return the average in eval mode, with statistics of training images."""
        model = cast(Detector, self.average.module).eval()
        images = min(len(dataset), IMAGES)
        device = next(model.parameters()).device
        batches = (batch.to(device) for batch in fitted_batches(model, dataset, images))
        update_bn(batches, _Trained(model, self.frozen))
        return model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values for a checkpoint."""
        return {"first": self.first, "average": self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the average, unless the run was resumed with more epochs: it has earlier ones."""
        if state["first"] == self.first:
            self.average.load_state_dict(state["average"])


class _Trained(nn.Module):
    """The rows of a network that are trained; running it runs all of them."""

    def __init__(self, model: Detector, frozen: int) -> None:
        super().__init__()
        self.rows = model.rows[frozen:]
        self.run = model.forward

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        return self.run(images)
