"""Attention blocks against the definitions of their papers, and against timm's layers."""

from __future__ import annotations

import pytest
import timm.layers
import torch
from timm.layers.cbam import ChannelAttn
from timm.layers.coord_attn import CoordAttn
from torch import nn

from detector.layers.attention import CBAM, ECA, SE, CoordAtt, SimAM
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy


@pytest.mark.parametrize(
    ("channels", "kernel"),
    # (log₂ c + 1) / 2: 2, 2.5, 3.5, 4.5, 5.5
    [(8, 3), (16, 3), (64, 3), (256, 5), (1024, 5)],
)
def test_eca_is_timms(channels: int, kernel: int) -> None:
    ours, theirs = ECA(channels), timm.layers.EcaModule(channels)
    assert ours.conv.kernel_size == (kernel,)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 5, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ECA(channels, kernel=7).conv.kernel_size == (7,)


def test_se_is_timms() -> None:
    ours = SE(32, ratio=4)
    theirs = timm.layers.SEModule(32, rd_channels=8)
    names = {"fc1": "down", "fc2": "up"}
    theirs.load_state_dict(
        {name: ours.state_dict()[f"{names[name[:3]]}{name[3:]}"] for name in theirs.state_dict()}
    )
    x = torch.randn(2, 32, 5, 3)
    torch.testing.assert_close(ours(x), theirs(x))


def test_cbam() -> None:
    """The channels' part is timm's; unlike timm's, the paper's other part has no batch norm."""
    ours, theirs = CBAM(32, ratio=4), ChannelAttn(32, rd_channels=8)
    theirs.load_state_dict({"fc1.weight": ours.down.weight, "fc2.weight": ours.up.weight})
    x = torch.randn(2, 32, 6, 4)
    scaled = theirs(x)
    planes = torch.stack([scaled.mean(1), scaled.max(1).values], 1)
    factors = torch.sigmoid(nn.functional.conv2d(planes, ours.places.weight, padding=3))
    torch.testing.assert_close(ours(x), scaled * factors)
    assert sum(p.numel() for p in ours.parameters()) == 2 * 32 * 8 + 2 * 49


@pytest.mark.parametrize("size_hw", [(6, 4), (1, 5)])
def test_coordinate_attention_is_timms(size_hw: tuple[int, int]) -> None:
    ours = CoordAtt(64, ratio=4).eval()
    randomise_batch_norms(ours)
    theirs = CoordAttn(64, rd_channels=16, bias=True).eval()
    names = {"conv1": "cv1.conv", "bn1": "cv1.bn", "conv_h": "rows", "conv_w": "columns"}
    state = ours.state_dict()
    theirs.load_state_dict(
        {
            name: state[f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"]
            for name in theirs.state_dict()
        }
    )
    x = torch.randn(2, 64, *size_hw)
    torch.testing.assert_close(ours(x), theirs(x))
    assert CoordAtt(64).rows.in_channels == 8


def test_simam_by_hand() -> None:
    # Mean 2; squares 1, 1, 1, 9 of the channel [1, 1, 1, 5]: variance 12 / 3 = 4.
    # 1 / (4 · (4 + 0.25)) + ½ = 0.558824, 9 / 17 + ½ = 1.029412; σ: 0.636180, 0.736802
    x = torch.tensor([[[[1.0, 1.0], [1.0, 5.0]]]])
    found = SimAM(0.25)(x)
    expected = torch.tensor([[[[0.636180, 0.636180], [0.636180, 5 * 0.736802]]]])
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def test_simam_of_a_single_place() -> None:
    # Without others nothing stands out: σ(½) = 0.622459
    found = SimAM()(torch.full((1, 2, 1, 1), 2.0))
    torch.testing.assert_close(found, torch.full((1, 2, 1, 1), 2 * 0.622459), rtol=0, atol=2e-6)


def test_coordinate_attention_fuses() -> None:
    block = CoordAtt(16).double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 16, 5, 4, dtype=torch.float64)
    expected, fused = block(x), fused_copy(block)
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


@pytest.mark.parametrize("kind", [CBAM, CoordAtt, ECA, SE])
def test_repeated_channels(kind: type[nn.Module]) -> None:
    kind(16, 16)
    with pytest.raises(ValueError, match="^argument 'channels': expected 16, found 8$"):
        kind(16, 8)
