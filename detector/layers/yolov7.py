"""YOLOv7's blocks (arXiv 2207.02696): max-pools and the re-parameterized convolution."""

from __future__ import annotations

from torch import nn

from detector.layers.activation import Activation
from detector.layers.conv import YOLO_EPS, YOLO_MOMENTUM
from detector.layers.repvgg import RepVGGBlock
from detector.registry import Count, Odd, Size, Width, register


@register(stride=lambda arguments: arguments.get("kernel", 2))
class MP(nn.MaxPool2d):
    """k×k max-pool of stride k. (b, c, h, w) → (b, c, h/k, w/k)."""

    def __init__(self, kernel: Count = 2) -> None:
        super().__init__(kernel, kernel)


@register()
class SP(nn.MaxPool2d):
    """k×k max-pool with padding, which keeps the size at stride 1."""

    def __init__(self, kernel: Odd = 3, stride: Count = 1) -> None:
        super().__init__(kernel, stride, kernel // 2)


@register()
class RepConv(RepVGGBlock):
    """RepVGG's block (:class:`RepVGGBlock`) with YOLO's batch-norm settings.

    Args:
        identity: include the identity branch where it is possible; YOLOv9 does not.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        padding: Size | None = None,
        groups: Count = 1,
        activation: Activation = "SiLU",
        identity: bool = True,
    ) -> None:
        super().__init__(
            c_in,
            c_out,
            kernel,
            stride,
            padding,
            groups=groups,
            activation=activation,
            identity=identity,
            eps=YOLO_EPS,
            momentum=YOLO_MOMENTUM,
        )
