"""YOLOv5's blocks: bottleneck, cross-stage partial blocks (arXiv 1911.11929), SPPF."""

from __future__ import annotations

from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.concat import concatenate
from detector.layers.conv import YOLO_EPS, YOLO_MOMENTUM, Conv, Conv2d
from detector.layers.depthwise import SeparableConv
from detector.layers.shared_norm import Joined, fold_shared_norm, fused_copy
from detector.registry import Count, Odd, Positive, Width, register


def hidden_width(c_out: int, expansion: float) -> int:
    """Return the number of channels inside a block: c_out · expansion, rounded down."""
    hidden = int(c_out * expansion)
    if hidden < 1:
        raise ValueError(f"argument 'expansion': {expansion} of {c_out} channels leaves none")
    return hidden


class Residual(nn.Module):
    """Two layers one after the other, and their input added to the result if ``add`` is set."""

    def __init__(self, cv1: nn.Module, cv2: nn.Module, add: bool) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv2(self.cv1(x))
        return x + out if self.add else out


@register()
class Bottleneck(Residual):
    """1×1 conv → 3×3 conv, with a shortcut if ``shortcut`` is set and the widths agree.

    Args:
        separable: the 3×3 conv is a :class:`SeparableConv`.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        shortcut: bool = True,
        groups: Count = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
        separable: bool = False,
    ) -> None:
        hidden = hidden_width(c_out, expansion)
        cv1 = Conv(c_in, hidden, 1, activation=activation)
        if separable and groups != 1:
            raise ValueError(f"argument 'groups': a separable conv has its own, found {groups}")
        cv2 = (
            SeparableConv(hidden, c_out, activation=activation)
            if separable
            else Conv(hidden, c_out, 3, groups=groups, activation=activation)
        )
        super().__init__(cv1, cv2, shortcut and c_in == c_out)


@register()
class C3(nn.Module):
    """CSP block of two paths: 1×1 conv → bottlenecks beside a 1×1 conv; concat; 1×1 conv.

    Each path has ``expansion`` · c_out channels.

    Args:
        separable: the bottlenecks' 3×3 convs are depthwise and pointwise ones, as in YOLOX-nano.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = True,
        groups: Count = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
        separable: bool = False,
    ) -> None:
        super().__init__()
        hidden = hidden_width(c_out, expansion)
        self.cv1 = Conv(c_in, hidden, 1, activation=activation)
        self.cv2 = Conv(c_in, hidden, 1, activation=activation)
        self.cv3 = Conv(2 * hidden, c_out, 1, activation=activation)
        self.m: nn.Module = nn.Sequential(
            *(
                Bottleneck(hidden, hidden, shortcut, groups, 1.0, activation, separable)
                for _ in range(repeats)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(concatenate((self.m(self.cv1(x)), self.cv2(x))))  # type: ignore[no-any-return]


@register()
class BottleneckCSP(nn.Module):
    """Predecessor of C3: both paths end in a plain 1×1 conv, and share a norm after the concat.

    1×1 conv → bottlenecks → plain 1×1 conv beside a plain 1×1 conv; concat → batch norm →
    activation → 1×1 conv to c_out. Each path has ``expansion`` · c_out channels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = True,
        groups: Count = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        hidden = hidden_width(c_out, expansion)
        self.cv1 = Conv(c_in, hidden, 1, activation=activation)
        self.cv2 = Conv2d(c_in, hidden, 1, bias=False)
        self.cv3 = Conv2d(hidden, hidden, 1, bias=False)
        self.cv4 = Conv(2 * hidden, c_out, 1, activation=activation)
        self.bn = nn.BatchNorm2d(2 * hidden, eps=YOLO_EPS, momentum=YOLO_MOMENTUM)
        self.act = make_activation(activation)
        self.m = nn.Sequential(
            *(
                Bottleneck(hidden, hidden, shortcut, groups, expansion=1.0, activation=activation)
                for _ in range(repeats)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        paths = concatenate((self.cv3(self.m(self.cv1(x))), self.cv2(x)))
        return self.cv4(self.act(self.bn(paths)))  # type: ignore[no-any-return]

    def fuse(self) -> nn.Sequential:
        """Return an equivalent block with every batch norm folded into convolutions."""
        cv3, cv2 = fold_shared_norm((self.cv3, self.cv2), self.bn)
        deep = nn.Sequential(self.cv1.fuse(), fused_copy(self.m), cv3)
        return nn.Sequential(Joined((deep, cv2), self.act), self.cv4.fuse())


@register()
class SPPF(nn.Module):
    """1×1 conv to half of c_in → three chained max-pools → concat with their input → 1×1 conv.

    Chained 5×5 pools cover windows of 5, 9 and 13 pixels: spatial pyramid pooling at a third of
    its cost.

    Args:
        hidden: width of the first convolution, by default half of c_in.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 5,
        activation: Activation = "SiLU",
        hidden: Count | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden or hidden_width(c_in, 0.5)
        self.cv1 = Conv(c_in, hidden, 1, activation=activation)
        self.cv2 = Conv(hidden * 4, c_out, 1, activation=activation)
        self.m = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.cv1(x)]
        for _ in range(3):
            features.append(self.m(features[-1]))
        return self.cv2(concatenate(features))  # type: ignore[no-any-return]
