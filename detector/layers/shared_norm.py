"""Fusing of one batch norm into the several convolutions whose concatenated outputs it covers."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import Tensor, nn

from detector.layers.concat import concatenate
from detector.layers.fuse import norm_scale_shift, plain_conv


def fold_shared_norm(convs: Iterable[nn.Conv2d], norm: nn.BatchNorm2d) -> list[nn.Conv2d]:
    """Fold a batch norm over concatenated outputs into the convolutions (without bias) before it.

    Batch norm acts on each channel separately, so each convolution takes the part of its channels.
    """
    convs = list(convs)
    widths = [conv.out_channels for conv in convs]
    scales, shifts = (values.split(widths) for values in norm_scale_shift(norm))
    return [
        plain_conv(conv, (conv.weight.detach().double() * scale.view(-1, 1, 1, 1), shift))
        for conv, scale, shift in zip(convs, scales, shifts, strict=True)
    ]


def fused_copy(block: nn.Module) -> nn.Module:
    """Return a copy of a block in which every part that has a method ``fuse`` is fused."""
    if callable(getattr(block, "fuse", None)):
        return block.fuse()  # type: ignore[operator, no-any-return]
    block = copy.deepcopy(block)
    for name, child in block.named_children():
        setattr(block, name, fused_copy(child))
    return block


class Joined(nn.Module):
    """Parallel paths of one input, concatenated → activation."""

    def __init__(self, paths: Iterable[nn.Module], act: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(concatenate([path(x) for path in self.paths]))  # type: ignore[no-any-return]
