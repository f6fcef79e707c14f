"""YOLOv7's head: YOLOv5's with implicit knowledge (YOLOR, arXiv 2105.04206, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.heads.yolo import Detect
from detector.layers.fuse import plain_conv
from detector.registry import register

SPREAD = 0.02
"""Standard deviation of the initial values of the learned vectors."""


class ImplicitConv(nn.Conv2d):
    """1×1 convolution between two learned vectors: conv(x + added) · factor.

    (b, c_in, h, w) → (b, c_out, h, w). ``added`` has a value for each input channel, initially near
    0; ``factor`` has one for each output channel, initially near 1.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 1)
        self.added = nn.Parameter(torch.empty(c_in, 1, 1).normal_(0, SPREAD))
        self.factor = nn.Parameter(torch.empty(c_out, 1, 1).normal_(1, SPREAD))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.added) * self.factor

    def fuse(self) -> nn.Conv2d:
        """Return a convolution with W′ = factor · W and b′ = factor · (b + W · added).

        They are computed in float64 and cast last.
        """
        assert self.bias is not None
        weight, factor = self.weight.detach().double(), self.factor.detach().double()
        added = (weight * self.added.detach().double()).sum((1, 2, 3))
        bias = (self.bias.detach().double() + added) * factor.flatten()
        like = nn.Conv2d(self.in_channels, self.out_channels, 1).to(self.weight)
        return plain_conv(like, (weight * factor[..., None], bias))


@register("IDetect", head=True)
class IDetect(Detect):
    """``Detect`` with a learned vector before and after each level's convolution.

    Each convolution has its own ``fuse``: a deployed head is this head with plain convolutions.
    """

    output_tensors = (*Detect.output_tensors, "factor")

    @staticmethod
    def make_conv(c_in: int, c_out: int) -> nn.Conv2d:
        """Return the convolution of a level, with its vectors."""
        return ImplicitConv(c_in, c_out)
