"""Depthwise and mixed convolutions, channel by channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from detector.layers.conv import Conv
from detector.layers.depthwise import DWConv, MixConv2d, equal_shares
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import Joined


@pytest.mark.parametrize(
    ("c_in", "c_out", "groups"), [(8, 8, 8), (8, 12, 4), (8, 24, 8), (3, 8, 1)]
)
def test_dwconv_is_conv_in_groups(c_in: int, c_out: int, groups: int) -> None:
    ours = DWConv(c_in, c_out, 3, 2, 2, "ReLU").eval()
    theirs = Conv(c_in, c_out, 3, 2, groups=groups, dilation=2, activation="ReLU").eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, c_in, 9, 9)
    assert ours(x).equal(theirs(x))


def test_depthwise_channels_do_not_mix() -> None:
    block = DWConv(4, 4, 3).eval()
    x = torch.randn(1, 4, 5, 5)
    changed = x.clone()
    changed[:, 2] += 1
    differs = (block(x) != block(changed)).flatten(2).any(2)[0]
    assert differs.tolist() == [False, False, True, False]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("channels", [5, 7, 8, 16, 32, 64, 100, 256])
def test_equal_shares_are_intervals_of_a_line(channels: int, parts: int) -> None:
    """Channels spread evenly over [0, parts); each part owns an interval of length 1."""
    owners = np.floor(np.linspace(0, parts - 1e-6, channels)).astype(int)
    assert equal_shares(channels, parts) == np.bincount(owners, minlength=parts).tolist()


@pytest.mark.parametrize(
    ("channels", "parts", "shares"),
    [(1, 1, [1]), (2, 2, [1, 1]), (7, 2, [4, 3]), (8, 3, [3, 2, 3]), (3, 3, [1, 1, 1])],
)
def test_equal_shares(channels: int, parts: int, shares: list[int]) -> None:
    assert equal_shares(channels, parts) == shares


@pytest.mark.parametrize("stride", [1, 2])
def test_mixconv_by_definition(stride: int) -> None:
    block = MixConv2d(8, 12, [1, 3, 5], stride, activation="ReLU").double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 8, 6, dtype=torch.float64)
    features = [
        nn.functional.conv2d(x, conv.weight, None, stride, kernel // 2, 1, groups)  # type: ignore[arg-type]
        for conv, kernel, groups in zip(block.m, (1, 3, 5), (4, 4, 4), strict=True)
    ]
    assert [m.shape[1] for m in features] == [4, 4, 4]
    expected = torch.relu(block.bn(torch.cat(features, 1)))
    torch.testing.assert_close(block(x), expected)
    fused = block.fuse()
    assert isinstance(fused, Joined)
    assert not hasattr(fused, "fuse")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10


def test_mixconv_has_the_published_params() -> None:
    # 3×3 and 5×5, depthwise, 128 channels each: 128 · (9 + 25) + 2 · 256
    assert sum(p.numel() for p in MixConv2d(128, 256, (3, 5)).parameters()) == 4864


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        ([1, 2], r"^argument 'kernels': expected odd numbers, found \[1, 2\]$"),
        ([], r"^argument 'kernels': expected odd numbers, found \[\]$"),
        ([1, 3, 5], "^2 channels are too few for 3 kernels$"),
    ],
)
def test_refused(kernels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixConv2d(8, 2, kernels)
