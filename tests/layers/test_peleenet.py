"""PeleeNet's stem and two-way dense layer by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from detector.layers.peleenet import PeleeStem, TwoWayDenseLayer


def test_stem() -> None:
    stem = PeleeStem(3, 8).eval()
    x = torch.randn(2, 3, 16, 24)
    first = stem.first(x)
    assert first.shape == (2, 8, 8, 12)
    ways = (F.max_pool2d(first, 2), stem.down(stem.reduce(first)))
    torch.testing.assert_close(stem(x), stem.join(torch.cat(ways, 1)))
    assert stem.reduce.conv.out_channels == 4  # type: ignore[union-attr]


def test_odd_sides_are_rounded_up_on_both_ways() -> None:
    # 18 → 9 → 5: the pool's last cell covers one row
    assert PeleeStem(3, 8)(torch.randn(1, 3, 18, 18)).shape == (1, 8, 5, 5)


def test_two_ways() -> None:
    layer = TwoWayDenseLayer(16, growth=8, bottleneck=6).eval()
    x = torch.randn(2, 16, 5, 7)
    near, far = layer.near, layer.far
    expected = torch.cat((x, near[1](near[0](x)), far[2](far[1](far[0](x)))), 1)
    torch.testing.assert_close(layer(x), expected)
    kernels = [[conv.conv.kernel_size[0] for conv in way] for way in (near, far)]  # type: ignore
    assert kernels == [[1, 3], [1, 3, 3]]
    assert layer(x).shape == (2, 24, 5, 7)
