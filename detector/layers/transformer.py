"""A transformer encoder on the cells of features (arXiv 1706.03762; on images: 2010.11929).

YOLOv5's form: no norms, no dropout, no activations; only the attention is non-linear.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from detector.layers.activation import Activation
from detector.layers.csp import C3, hidden_width
from detector.registry import Positive, Width, register

HEADS = 4
"""Number of attention heads."""


class TransformerLayer(nn.Module):
    """Self-attention, then two linear layers, each with a shortcut. (b, n, c) → (b, n, c).

    Queries, keys and values pass a linear layer each before the projections of the attention.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q = nn.Linear(channels, channels, bias=False)
        self.k = nn.Linear(channels, channels, bias=False)
        self.v = nn.Linear(channels, channels, bias=False)
        self.ma = nn.MultiheadAttention(channels, HEADS, batch_first=True)
        self.fc1 = nn.Linear(channels, channels, bias=False)
        self.fc2 = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        attended, _ = self.ma(self.q(x), self.k(x), self.v(x), need_weights=False)
        x = x + attended
        return x + self.fc2(self.fc1(x))  # type: ignore[no-any-return]


class TransformerEncoder(nn.Module):
    """``repeats`` transformer layers on the cells of features. (b, c, h, w) → (b, c, h, w).

    A learned linear embedding of each cell is added first. It depends on the cell's content only,
    not on its position: permuted cells give the permuted output.
    """

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        if channels % HEADS:
            raise ValueError(f"{channels} hidden channels are not split by {HEADS} attention heads")
        self.linear = nn.Linear(channels, channels)
        self.tr = nn.Sequential(*(TransformerLayer(channels) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        cells: Tensor = x.flatten(2).transpose(1, 2)
        cells = self.tr(cells + self.linear(cells))
        return cells.transpose(1, 2).reshape(x.shape)


@register()
class C3TR(C3):
    """C3 with a transformer encoder of ``repeats`` layers in place of bottlenecks.

    The cost grows with the square of the number of cells: use it on the smallest features.

    Args:
        shortcut: accepted for published model files and ignored: every layer has one.
        groups: accepted for published model files; must be 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        repeats: int = 1,
        shortcut: bool = True,
        groups: Literal[1] = 1,
        expansion: Positive = 0.5,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(c_in, c_out, 0, expansion=expansion, activation=activation)
        self.m: nn.Module = TransformerEncoder(hidden_width(c_out, expansion), repeats)
