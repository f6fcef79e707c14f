"""YOLOv9's blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, silu

from detector.layers.conv import Conv, FusedConv
from detector.layers.gelan import (
    ELAN,
    SPPELAN,
    AConv,
    ADown,
    RepBottleneck,
    RepNCSP,
    RepNCSPELAN,
    SliceSum,
)
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy


def params(block: nn.Module) -> int:
    return sum(p.numel() for p in block.parameters())


def conv_params(c_in: int, c_out: int, kernel: int) -> int:
    """Return the weights of a convolution and of its batch norm."""
    return c_in * c_out * kernel**2 + 2 * c_out


def by_hand(conv: nn.Module, x: Tensor) -> Tensor:
    """Return conv → batch norm, without an activation."""
    return conv.bn(conv.conv(x))  # type: ignore[no-any-return,operator]


def test_rep_bottleneck_by_definition() -> None:
    block = RepBottleneck(8, True, 1, "SiLU").double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    rep = block.cv1
    assert rep.identity_bn is None, "no identity, though the widths agree"
    summed = silu(by_hand(rep, x) + rep.pointwise_bn(rep.pointwise(x)))
    torch.testing.assert_close(block(x), x + silu(by_hand(block.cv2, summed)))
    assert not RepBottleneck(8, False, 1, "SiLU").add


@pytest.mark.parametrize("repeats", [1, 3])
def test_rep_ncsp(repeats: int) -> None:
    block = RepNCSP(16, 24, repeats, shortcut=False, activation="ReLU").eval()
    x = torch.randn(1, 16, 5, 5)
    expected = block.cv3(torch.cat([block.m(block.cv1(x)), block.cv2(x)], 1))
    torch.testing.assert_close(block(x), expected)
    assert not any(m.add for m in block.m)  # type: ignore[union-attr]
    # Hidden width 12: two convs in, one out; a bottleneck has a 3×3 and a 1×1 branch, then a 3×3.
    bottleneck = 2 * conv_params(12, 12, 3) + conv_params(12, 12, 1)
    assert params(block) == 2 * conv_params(16, 12, 1) + conv_params(24, 24, 1) + (
        repeats * bottleneck
    )


@pytest.mark.parametrize(("process", "width"), [(None, 8), (4, 4)])
@pytest.mark.parametrize("kind", [ELAN, RepNCSPELAN])
def test_elan_by_definition(kind: type[ELAN], process: int | None, width: int) -> None:
    block = kind(8, 24, 16, process).eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 5, 4)
    a, b = block.cv1(x)[:, :8], block.cv1(x)[:, 8:]
    c = block.cv2(b)
    d = block.cv3(c)
    assert a.shape[1] == b.shape[1] == 8
    assert c.shape[1] == d.shape[1] == width
    torch.testing.assert_close(block(x), block.cv4(torch.cat([a, b, c, d], 1)))


def test_elan_params_by_hand() -> None:
    # v9-t's row 2: ELAN 32 → 32, part 32, process 16.
    expected = conv_params(32, 32, 1) + 2 * conv_params(16, 16, 3) + conv_params(64, 32, 1)
    assert params(ELAN(32, 32, 32)) == expected == 7872


def test_repncspelan_params_by_hand() -> None:
    # Row 4 of v9-t: 64 → 64, part 64, process 32, three bottlenecks of 16 channels in each RepNCSP.
    bottleneck = 2 * conv_params(16, 16, 3) + conv_params(16, 16, 1)
    csp = 2 * conv_params(32, 16, 1) + conv_params(32, 32, 1) + 3 * bottleneck
    expected = (
        conv_params(64, 64, 1) + 2 * (csp + conv_params(32, 32, 3)) + (conv_params(128, 64, 1))
    )
    assert params(RepNCSPELAN(64, 64, 64, 32, 3)) == expected == 65_216


@pytest.mark.parametrize("size_hw", [(8, 6), (7, 5)])
def test_downsampling_by_definition(size_hw: tuple[int, int]) -> None:
    x = torch.randn(2, 8, *size_hw)
    pooled = torch.stack([x[..., i : i + x.shape[2] - 1, j : j + x.shape[3] - 1]
                          for i in (0, 1) for j in (0, 1)]).mean(0)  # fmt: skip
    torch.testing.assert_close(pooled, avg_pool2d(x, 2, 1))
    aconv, adown = AConv(8, 12).eval(), ADown(8, 12).eval()
    torch.testing.assert_close(aconv(x), aconv.cv1(pooled))
    first, second = pooled[:, :4], max_pool2d(pooled[:, 4:], 3, 2, 1)
    expected = torch.cat([adown.cv1(first), adown.cv2(second)], 1)
    torch.testing.assert_close(adown(x), expected)
    assert expected.shape == (2, 12, (size_hw[0]) // 2, size_hw[1] // 2)


@pytest.mark.parametrize(("hidden", "width"), [(None, 12), (4, 4)])
def test_sppelan_sees_5_9_and_13_pixels(hidden: int | None, width: int) -> None:
    block = SPPELAN(16, 24, hidden).eval()
    x = torch.rand(1, 16, 20, 20)
    first = block.cv1(x)
    assert first.shape[1] == width
    pools = [max_pool2d(first, k, 1, k // 2) for k in (5, 9, 13)]
    torch.testing.assert_close(block(x), block.cv2(torch.cat([first, *pools], 1)))


@pytest.mark.parametrize(
    "block",
    [
        RepNCSP(8, 16, 2, groups=2),
        ELAN(8, 16, 8),
        RepNCSPELAN(8, 16, 8, 12, 2, "ReLU"),
        AConv(8, 16),
        ADown(8, 16),
        SPPELAN(8, 16),
    ],
    ids=lambda block: type(block).__name__,
)
def test_fuses(block: nn.Module) -> None:
    block = block.double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 8, 6, dtype=torch.float64)
    expected, fused = block(x), fused_copy(block)
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    convs = [m for m in fused.modules() if isinstance(m, FusedConv)]
    assert convs
    assert not any(isinstance(m, (Conv, nn.BatchNorm2d)) for m in fused.modules())


def test_slices_are_added_to_the_last_feature() -> None:
    """Channels 1 and 2 of four, and 0 and 1 of two."""
    four, two, last = (torch.rand(1, c, 2, 3) for c in (4, 2, 2))
    found = SliceSum([1, 0], [4, 2, 2])([four, two, last])
    torch.testing.assert_close(found, four[:, 1:3] + two + last)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([0], "argument 'starts': expected 2, found 1"),
        ([3, 0], "argument 'starts': 2 channels from 3 of a feature of 4"),
    ],
)
def test_slices_must_lie_within_the_features(starts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SliceSum(starts, [4, 2, 2])
