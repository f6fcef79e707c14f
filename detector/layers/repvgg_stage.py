"""RepVGG's stages (arXiv 2101.03697, section 3.4): consecutive blocks of one width."""

from __future__ import annotations

from torch import nn

from detector.layers.activation import Activation
from detector.layers.repvgg import RepVGGBlock
from detector.registry import Count, Size, Width, register


@register(stride=lambda arguments: arguments.get("stride", 2))
class RepVGGStage(nn.Sequential):
    """Stage of ``repeats`` RepVGG blocks, the first with the stride.

    Args:
        groups: groups of every even-numbered block (the models g2 and g4).
        first: number of this stage's first block in the network; stage 0 is block 0.
        use_se: add squeeze-and-excitation to each block, see :class:`RepVGGBlock`.
        se_ratio: factor by which squeeze-and-excitation reduces the channels.
        se_last: put squeeze-and-excitation after the activation.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        stride: Count = 2,
        groups: Count = 1,
        first: Size = 0,
        use_se: bool = False,
        se_ratio: Count = 16,
        se_last: bool = False,
        pointwise: bool = True,
        identity: bool = True,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(
            *(
                RepVGGBlock(
                    c_out if i else c_in,
                    c_out,
                    stride=1 if i else stride,
                    groups=1 if (first + i) % 2 else groups,
                    use_se=use_se,
                    activation=activation,
                    se_ratio=se_ratio,
                    se_last=se_last,
                    pointwise=pointwise,
                    identity=identity,
                )
                for i in range(repeats)
            )
        )
