"""Channel-wise distillation of features (arXiv 2011.13256): where each channel looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.utils.collectives import all_reduce_sum


def channel_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the KL divergence of the places that each channel looks at (equations 3 and 4).

    Each channel's values become a distribution over the places by a softmax of temperature 1; the
    divergences are a mean over channels, as in the authors' code.

    Args:
        student: (b, c, h, w) features.
        teacher: (b, c, h, w) features, the targets.

    Returns:
        (b,) divergences.
    """
    own, other = (one.flatten(2).log_softmax(-1) for one in (student, teacher))
    return F.kl_div(own, other, reduction="none", log_target=True).sum(-1).mean(1)


class ChannelDistillation(nn.Module):
    """Distillation of the features of several levels.

    A 1×1 convolution maps the network's features to as many channels as the teacher's, where their
    numbers differ (section 3.1); it is trained with the network and is no part of it. It has no
    bias, which a softmax over the places does not see.

    Args:
        levels: pairs of a level of the network and one of the teacher.
        channels: numbers of channels of each pair's features.
        seed: of the convolutions' start.
    """

    def __init__(
        self, levels: Sequence[tuple[int, int]], channels: Sequence[tuple[int, int]], seed: int
    ) -> None:
        super().__init__()
        self.levels = levels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapters = nn.ModuleList(
                nn.Identity() if own == other else nn.Conv2d(own, other, 1, bias=False)
                for own, other in channels
            )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return the loss of a batch, a mean over the images of all processes, summed over levels.

        Args:
            student: features of the network's levels, (b, c, h, w) each; b may be 0.
            teacher: those of the teacher's levels.
        """
        losses = []
        for (own, other), adapter in zip(self.levels, self.adapters, strict=True):
            mapped, target = adapter(student[own]), teacher[other]
            if mapped.shape[2:] != target.shape[2:]:
                mapped = F.interpolate(mapped, target.shape[2:], mode="bilinear")
            losses.append(channel_divergence(mapped, target))
        per_image = torch.stack(losses).sum(0)
        images = all_reduce_sum(per_image.new_tensor(len(per_image))).clamp(min=1)
        return per_image.sum() / images

    def average_gradients(self) -> None:
        """Replace the gradients of the convolutions by their mean over all processes."""
        for parameter in self.parameters():
            assert parameter.grad is not None
            count = all_reduce_sum(parameter.grad.new_ones(()))
            parameter.grad = all_reduce_sum(parameter.grad) / count
