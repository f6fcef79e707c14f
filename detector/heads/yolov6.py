"""YOLOv6's efficient decoupled head (arXiv 2209.02976, section 2.1; version 3: 2301.05586)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detector.heads.distribution import DistanceHead
from detector.heads.points import PRIOR_LOGIT, fill_bias
from detector.layers.activation import Activation
from detector.layers.conv import Conv
from detector.registry import Size, register
from detector.settings.nms import NmsSettings


@register(head=True)
class YOLOv6Head(DistanceHead):
    """Decoupled head that keeps the channels of each level.

    For each level a 1×1 conv, then a 3×3 conv and a 1×1 convolution in each branch.

    Args:
        nc: number of classes.
        bins: number of bins of each distance; 0 for distances without a distribution, as in n, s.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    eval_nms = NmsSettings(confidence=0.03, iou=0.65, max_detections=300, multi_label=True)
    """NMS settings of the authors for evaluating AP."""

    def __init__(
        self,
        nc: int,
        bins: Size = 0,
        activation: Activation = "SiLU",
        c_in: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__(nc, bins, c_in, strides)

        def convs(kernel: int) -> nn.ModuleList:
            return nn.ModuleList(Conv(c, c, kernel, activation=activation) for c in c_in)

        def last(c_out: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(c, c_out, 1) for c in c_in)

        self.stems, self.box_convs, self.class_convs = convs(1), convs(3), convs(3)
        self.box_layers, self.class_layers = last(self.box_values), last(nc)
        for box_layer, class_layer in zip(self.box_layers, self.class_layers, strict=True):
            fill_bias(box_layer, 1.0)
            fill_bias(class_layer, PRIOR_LOGIT)

    def branches(self, level: int, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden features of one level's boxes and of its classes."""
        hidden = self.stems[level](feature)
        return self.box_convs[level](hidden), self.class_convs[level](hidden)
