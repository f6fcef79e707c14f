"""VGG's convolution (arXiv 1409.1556), and the norm that SSD puts on its conv4_3 (1512.02325)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.conv import Conv2d, FusedConv, check_groups, same_padding
from detector.layers.fuse import fold_batch_norm, plain_conv
from detector.registry import Count, Positive, Size, Width, register


@register()
class ConvAct(nn.Module):
    """Conv2d with bias → activation, without batch norm. (b, c_in, h, w) → (b, c_out, h/s, w/s).

    Weights are initialized as by He et al. (arXiv 1502.01852), biases to 0.

    Args:
        padding: padding in pixels; ``None`` keeps the size at stride 1, for odd kernels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        stride: Count = 1,
        padding: Size | None = None,
        groups: Count = 1,
        dilation: Count = 1,
        activation: Activation = "ReLU",
    ) -> None:
        super().__init__()
        check_groups(groups, c_in, c_out)
        if padding is None:
            padding = same_padding(kernel, dilation)
        self.conv = Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups)
        self.bn = self.make_norm(c_out)
        self.act = make_activation(activation)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def make_norm(self, c_out: int) -> nn.Module:
        """Return the module between convolution and activation: an identity."""
        return nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))  # type: ignore[no-any-return]


@register()
class ConvNormAct(ConvAct):
    """Conv2d with bias → BatchNorm2d → activation: VGG with batch norm, as torchvision has it."""

    def make_norm(self, c_out: int) -> nn.Module:
        """Return the module between convolution and activation: a batch norm."""
        return nn.BatchNorm2d(c_out)

    def fuse(self) -> FusedConv:
        """Return an equivalent block with the batch norm folded into the convolution."""
        assert isinstance(self.bn, nn.BatchNorm2d)
        return FusedConv(plain_conv(self.conv, fold_batch_norm(self.conv, self.bn)), self.act)


@register()
class L2Norm(nn.Module):
    """L2 normalization of each pixel's vector of channels, times a learned factor per channel.

    ParseNet (arXiv 1506.04579, section 3.3); SSD, section 3.1: conv4_3 has larger values than
    later features.

    Args:
        scale: initial value of the factors, which is the length of the output's vectors.
    """

    def __init__(self, c_in: int, scale: Positive = 20.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((c_in,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * self.weight.view(-1, 1, 1)
