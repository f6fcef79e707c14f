"""Partial self-attention (YOLOv10, arXiv 2405.14458, section 3.3), as YOLO11 stacks it."""

from __future__ import annotations

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.concat import concatenate
from detector.layers.conv import Conv
from detector.layers.csp import hidden_width
from detector.registry import Positive, Width, register

HEAD_CHANNELS = 64
"""Channels of values in each attention head; queries and keys have half as many."""


class SpatialAttention(nn.Module):
    """Self-attention of the cells of features, with batch norms. (b, c, h, w) → (b, c, h, w).

    A depthwise 3×3 convolution of the values is added: it sees the positions, attention does not.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(channels // HEAD_CHANNELS, 1)
        if channels % self.heads:
            raise ValueError(
                f"{channels} hidden channels are not split by {self.heads} attention heads"
            )
        self.value = channels // self.heads
        self.key = self.value // 2
        both = 2 * self.heads * self.key
        self.qkv = Conv(channels, both + channels, 1, activation=None)
        self.pe = Conv(channels, channels, 3, groups=channels, activation=None)
        self.proj = Conv(channels, channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).flatten(2).unflatten(1, (self.heads, -1))  # (b, heads, 2k + v, cells)
        q, k, v = heads.split((self.key, self.key, self.value), 2)
        shares = ((q * self.key**-0.5).transpose(2, 3) @ k).softmax(3)  # of each cell in all others
        attended = (v @ shares.transpose(2, 3)).reshape(x.shape)
        return self.proj(attended + self.pe(v.reshape(x.shape)))  # type: ignore[no-any-return]


class PSABlock(nn.Module):
    """Attention, then two 1×1 convs (c → 2c → c), each with a shortcut."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.attn = SpatialAttention(channels)
        self.ffn = nn.Sequential(
            Conv(channels, 2 * channels, 1, activation=activation),
            Conv(2 * channels, channels, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)  # type: ignore[no-any-return]


@register()
class C2PSA(nn.Module):
    """1×1 conv to two halves → ``repeats`` attention blocks on the second; concat; 1×1 conv.

    The cost grows with the square of the number of cells: use it on the smallest features.
    c_in must be c_out.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__()
        if c_in != c_out:
            raise ValueError(f"argument 'c_out': expected {c_in} as in the input, found {c_out}")
        hidden = hidden_width(c_in, expansion)
        self.cv1 = Conv(c_in, 2 * hidden, 1, activation=activation)
        self.cv2 = Conv(2 * hidden, c_in, 1, activation=activation)
        self.m = nn.Sequential(*(PSABlock(hidden, activation) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.cv1(x).chunk(2, 1)
        return self.cv2(concatenate((first, self.m(second))))  # type: ignore[no-any-return]
