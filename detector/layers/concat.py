"""Concatenation of maps along their channels, with a backward pass that is fast on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.registry import register


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """(b, c_i, h, w) each → (b, Σ c_i, h, w).

    The gradient of each map is made dense on CPUs. torch hands out slices of the whole gradient;
    channels-last, their rows are as short as a map has channels, and below 64 torch's kernels go
    through them value by value: SiLU's backward pass takes seven times as long.
    """
    for each in maps:
        if each.requires_grad and each.device.type == "cpu":
            each.register_hook(_dense)
    return torch.cat(tuple(maps), 1)


def _dense(gradient: Tensor) -> Tensor:
    is_channels_last = gradient.stride(1) == 1
    return gradient.contiguous(memory_format=torch.channels_last) if is_channels_last else gradient


@register(channels=lambda arguments, c_in: sum(c_in), joins=True)
class Concat(nn.Module):
    """Concatenate maps of one size along ``dim`` (1: channels)."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        if dim != 1:
            raise ValueError(f"maps are concatenated along their channels, dim 1, found {dim}")

    def forward(self, maps: list[Tensor]) -> Tensor:
        return concatenate(maps)
