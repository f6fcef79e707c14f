"""Channel attention: squeeze-and-excitation (arXiv 1709.01507) and VoVNetV2's eSE (1911.06667)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from detector.registry import Count, register


@register()
class SEBlock(nn.Module):
    """Global average → 1×1 to c/ratio → ReLU → 1×1 → sigmoid → scale of the input's channels."""

    def __init__(self, c_in: int, ratio: Count = 16) -> None:
        super().__init__()
        hidden = max(c_in // ratio, 1)
        self.down = nn.Conv2d(c_in, hidden, 1)
        self.up = nn.Conv2d(hidden, c_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.down(x.mean((2, 3), keepdim=True)))
        return x * F.sigmoid(self.up(squeezed))


@register()
class ESEBlock(nn.Module):
    """Global average → one 1×1 c→c → hard sigmoid → scale of the input's channels."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(c_in, c_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))
