"""Fusing where one batch norm covers several convolutions whose outputs are concatenated."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import Tensor, nn

from detector.layers.concat import concatenate
from detector.layers.fuse import norm_scale_shift, plain_conv


def fold_shared_norm(convs: Iterable[nn.Conv2d], norm: nn.BatchNorm2d) -> list[nn.Conv2d]:
    """Each convolution (without bias) with its share of the norm over all their outputs.

    Batch norm treats every channel by itself, so each convolution takes the channels it made.
    """
    convs = list(convs)
    widths = [conv.out_channels for conv in convs]
    scales, shifts = (values.split(widths) for values in norm_scale_shift(norm))
    return [
        plain_conv(conv, (conv.weight.detach().double() * scale.view(-1, 1, 1, 1), shift))
        for conv, scale, shift in zip(convs, scales, shifts, strict=True)
    ]


def fused_copy(block: nn.Module) -> nn.Module:
    """A copy of a block in which everything that can be fused is."""
    if callable(getattr(block, "fuse", None)):
        return block.fuse()  # type: ignore[operator, no-any-return]
    block = copy.deepcopy(block)
    for name, child in block.named_children():
        setattr(block, name, fused_copy(child))
    return block


class Joined(nn.Module):
    """Paths of one map side by side, concatenated → activation."""

    def __init__(self, paths: Iterable[nn.Module], act: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(concatenate([path(x) for path in self.paths]))  # type: ignore[no-any-return]
