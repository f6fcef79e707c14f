"""PP-YOLOE's efficient task-aligned head (arXiv 2203.16250, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detector.heads.distribution import DistanceHead
from detector.heads.points import PRIOR_LOGIT, fill_bias
from detector.layers.activation import Activation
from detector.layers.ppyoloe import GatedConv
from detector.registry import Count, register
from detector.settings.nms import NmsSettings


@register(head=True)
class PPYOLOEHead(DistanceHead):
    """Head of one :class:`GatedConv` and one 3×3 convolution in each branch of a level.

    The branch of the classes adds the feature to what its gated conv makes of it.

    Args:
        nc: number of classes.
        bins: number of bins of each distance, 0 to bins − 1 strides.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    eval_nms = NmsSettings(confidence=0.01, iou=0.7, max_detections=300, multi_label=True)
    """NMS settings of the authors for evaluating AP."""

    def __init__(
        self,
        nc: int,
        bins: Count = 17,
        activation: Activation = "SiLU",
        c_in: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__(nc, bins, c_in, strides)

        def convs() -> nn.ModuleList:
            return nn.ModuleList(GatedConv(c, activation) for c in c_in)

        def last(c_out: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(c, c_out, 3, padding=1) for c in c_in)

        self.box_convs, self.class_convs = convs(), convs()
        self.box_layers, self.class_layers = last(self.box_values), last(nc)
        for box_layer, class_layer in zip(self.box_layers, self.class_layers, strict=True):
            fill_bias(box_layer, 1.0)
            fill_bias(class_layer, PRIOR_LOGIT)

    def branches(self, level: int, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden features of one level's boxes and of its classes."""
        of_classes: Tensor = self.class_convs[level](feature) + feature
        return self.box_convs[level](feature), of_classes
