"""Choice of one output of a row that has several."""

from __future__ import annotations

from torch import Tensor, nn

from detector.registry import Size, register


@register(picks=True)
class Index(nn.Module):
    """One of the features that another row returns, by number from 0. [features] → (b, c, h, w)."""

    def __init__(self, index: Size) -> None:
        super().__init__()
        self.index = index

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[self.index]
