"""VoVNet's one-shot aggregation (arXiv 1904.09730, section 3; V2's eSE: arXiv 1911.06667)."""

from __future__ import annotations

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.se import ESEBlock
from detector.registry import Count, Width, register

VOVNET_EPS, VOVNET_MOMENTUM = 1e-5, 0.1


class OSAModule(nn.Module):
    """n chained 3×3 convs → concat of the input and all n outputs → 1×1 conv to c_out."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        width: int,
        convs: int = 5,
        identity: bool = False,
        ese: bool = False,
        bottleneck: int | None = None,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        if identity and c_in != c_out:
            raise ValueError(f"an identity from {c_in} to {c_out} channels")
        self.convs = nn.ModuleList(
            _link(width if i else c_in, width, bottleneck, activation) for i in range(convs)
        )
        self.concat = _conv(c_in + convs * width, c_out, 1, activation)
        self.ese = ESEBlock(c_out) if ese else nn.Identity()
        self.identity = identity

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv in self.convs:
            features.append(conv(features[-1]))
        out: Tensor = self.ese(self.concat(concatenate(features)))
        return out + x if self.identity else out


@register("OSA")
class OSAStage(nn.Sequential):
    """Stage of ``repeats`` OSA modules; from the second on, the input is added to the output.

    Args:
        c_out: width after each module's concatenation.
        width: width of the chained convolutions.
        convs: number of chained convolutions per module.
        ese: effective squeeze-and-excitation in the last module, before the identity is added
            (VoVNetV2).
        bottleneck: width of a 1×1 convolution before each chained one (the paper's ablation,
            section 4.2: fewer parameters, slower and less accurate); None for none.
        identity: add the input from the second module on; timm's networks without eSE do not.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        width: Width,
        repeats: int = 1,
        convs: Count = 5,
        ese: bool = False,
        bottleneck: Width | None = None,
        activation: Activation = "SiLU",
        identity: bool = True,
    ) -> None:
        super().__init__(
            *(
                OSAModule(
                    c_out if i else c_in,
                    c_out,
                    width,
                    convs,
                    identity=identity and i > 0,
                    ese=ese and i == repeats - 1,
                    bottleneck=bottleneck,
                    activation=activation,
                )
                for i in range(repeats)
            )
        )


def _link(c_in: int, width: int, bottleneck: int | None, activation: Activation) -> nn.Module:
    if bottleneck is None:
        return _conv(c_in, width, 3, activation)
    reduced = _conv(c_in, bottleneck, 1, activation)
    return nn.Sequential(reduced, _conv(bottleneck, width, 3, activation))


def _conv(c_in: int, c_out: int, kernel: int, activation: Activation) -> Conv:
    return Conv(
        c_in, c_out, kernel, activation=activation, eps=VOVNET_EPS, momentum=VOVNET_MOMENTUM
    )
