"""Swin transformer layers on windows of cells (arXiv 2103.14030), inside YOLOv5's C3.

The names of the parameters, the activation of the MLP and the padding are those of the published
C3STR, so that its weights fit and give the same features.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.csp import C3, hidden_width
from detector.registry import Positive, Width, register

WINDOW = 8
"""Side of a window, cells."""
SHIFT = WINDOW // 2
"""Cells by which every second layer moves its windows, down and to the right."""
HEAD_CHANNELS = 32
"""Channels that each attention head has at least."""
MLP_RATIO = 4
"""Hidden channels of a layer's MLP for each of its channels."""
MASKED = -100.0
"""Added to the score of two cells that are not neighbours in the image; e^-100 is nothing."""
TABLE_DEVIATION = 0.02
"""Standard deviation of the position biases before training."""


def window_positions() -> Tensor:
    """Return the row of the bias table of each pair of cells in a window: (64, 64) integers.

    The row depends on the offset of the first cell from the second: -7 … 7 rows and columns.
    """
    cells = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
    offsets = cells[:, None] - cells[None, :] + WINDOW - 1
    return offsets[..., 0] * (2 * WINDOW - 1) + offsets[..., 1]


def swap_inner(grid: Tensor) -> Tensor:
    """Return (b, rows, i, j, 8, c) → (b, rows, j, i, 8, c), copied.

    Without a copy, torch.export would fix whether the number of windows is 1 when it merges axes.
    """
    return grid.transpose(2, 3).clone(memory_format=torch.contiguous_format)


def split_windows(cells: Tensor) -> Tensor:
    """Split cells (b, 8 · rows, 8 · columns, c) into windows (b, rows, columns, 64, c).

    Rows and columns of windows remain two axes, since the product of symbolic sizes in an export
    would become long.
    """
    rows, columns = cells.shape[1] // WINDOW, cells.shape[2] // WINDOW
    grid = cells.unflatten(2, (columns, WINDOW)).unflatten(1, (rows, WINDOW))
    return swap_inner(grid).flatten(3, 4)


def join_windows(windows: Tensor) -> Tensor:
    """Join windows (b, rows, columns, 64, c) to cells: the inverse of :func:`split_windows`."""
    return swap_inner(windows.unflatten(3, (WINDOW, WINDOW))).flatten(3, 4).flatten(1, 2)


def pad_to_windows(x: Tensor) -> Tensor:
    """Pad (b, h, w, c) with zeros at the bottom and on the right to sides that are multiples of 8.

    It pads by a constant and cuts: torch.export fixes a size where it is asked for a pad of zero.
    Only positive numbers are divided, since ONNX rounds towards zero.
    """
    height, width = ((side + WINDOW - 1) // WINDOW * WINDOW for side in x.shape[1:3])
    return F.pad(x, (0, 0, 0, WINDOW - 1, 0, WINDOW - 1))[:, :height, :width]


def move(cells: Tensor, by: int) -> Tensor:
    """Move cells (b, h, w, c) up and to the left; those that leave come back on the other side."""
    cells = torch.cat((cells[:, by:], cells[:, :by]), 1)
    return torch.cat((cells[:, :, by:], cells[:, :, :by]), 2)


def shift_mask(cells: Tensor) -> Tensor:
    """Return what is added to the scores of moved cells (b, h, w, c): (rows, columns, 1, 64, 64).

    A window of the last row or column holds cells that were moved there from the other side. They
    and the others do not see each other.
    """
    _, height, width, _ = cells.shape
    is_below = (torch.arange(height, device=cells.device) >= height - SHIFT).to(cells.dtype)
    is_right = (torch.arange(width, device=cells.device) >= width - SHIFT).to(cells.dtype)
    parts = split_windows((2 * is_below[:, None] + is_right)[None, ..., None])[0]
    return MASKED * (parts != parts.transpose(2, 3)).to(cells.dtype).unsqueeze(2)


class WindowAttention(nn.Module):
    """Self-attention of the cells of each window, with a learned bias for each offset.

    (b, rows, columns, 64, c) → the same.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < HEAD_CHANNELS:
            raise ValueError(
                f"{channels} hidden channels: expected at least {HEAD_CHANNELS}, one attention head"
            )
        self.heads = channels // HEAD_CHANNELS
        if channels % self.heads:
            raise ValueError(
                f"{channels} hidden channels are not split by {self.heads} attention heads"
            )
        self.relative_position_bias_table = nn.Parameter(
            torch.empty((2 * WINDOW - 1) ** 2, self.heads)
        )
        nn.init.normal_(self.relative_position_bias_table, std=TABLE_DEVIATION)
        self.register_buffer("relative_position_index", window_positions(), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            windows: (b, rows, columns, 64, c).
            mask: added to the scores; (rows, columns, 1, 64, 64).
        """
        q, k, v = (
            part.unflatten(4, (self.heads, -1)).transpose(3, 4)  # (b, rows, columns, heads, 64, d)
            for part in self.qkv(windows).chunk(3, 4)
        )
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(4, 5) + bias
        if mask is not None:
            scores = scores + mask
        attended = scores.softmax(5) @ v
        return self.proj(attended.transpose(3, 4).flatten(4))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Linear layer to four times the channels → activation → linear layer back."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.act = make_activation(activation)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class SwinTransformerLayer(nn.Module):
    """Layer norm → attention in windows, then layer norm → MLP, each with a shortcut.

    (b, h, w, c) → the same. Sides that are not multiples of 8 are filled up at the bottom and on
    the right with zeros, before the norm. These cells are not masked.

    Args:
        is_shifted: the windows are moved by half their side, so that they join cells of four
            windows of the layer before.
    """

    def __init__(self, channels: int, is_shifted: bool, activation: Activation) -> None:
        super().__init__()
        self.is_shifted = is_shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def attend(self, x: Tensor) -> Tensor:
        """Return what the attention adds to each cell."""
        cells = self.norm1(pad_to_windows(x))
        if self.is_shifted:
            cells = move(cells, SHIFT)
        mask = shift_mask(cells) if self.is_shifted else None
        cells = join_windows(self.attn(split_windows(cells), mask))
        if self.is_shifted:
            cells = move(cells, -SHIFT)
        return cells[:, : x.shape[1], : x.shape[2]]


class SwinTransformer(nn.Module):
    """``repeats`` layers, every second with shifted windows. (b, c, h, w) → (b, c, h, w)."""

    def __init__(self, channels: int, repeats: int, activation: Activation) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(SwinTransformerLayer(channels, i % 2 == 1, activation) for i in range(repeats))
        )

    def forward(self, x: Tensor) -> Tensor:
        if any(isinstance(side, torch.SymInt) for side in x.shape[2:]):  # traced for an export
            raise ValueError("its windows are counted for one input size")
        return self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


@register()
class C3STR(C3):
    """C3 with ``repeats`` Swin transformer layers in place of bottlenecks.

    Attention is within windows of 8×8 cells: the cost grows linearly with the number of cells.
    One attention head for each 32 hidden channels.

    Args:
        shortcut: accepted for published model files and ignored: every layer has two.
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
        self.m: nn.Module = SwinTransformer(hidden_width(c_out, expansion), repeats, activation)
