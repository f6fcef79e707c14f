"""Pixels into channels: against loops over pixels and torch's own shuffling."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from detector.layers.pixels import Contract, Expand, Focus, ReOrg


@pytest.mark.parametrize("block", [Focus(2, 3), ReOrg()], ids=["Focus", "ReOrg"])
def test_squares_are_taken_down_their_columns(block: nn.Module) -> None:
    block.conv = nn.Identity()
    x = torch.rand(2, 2, 6, 4)
    found = block(x)
    assert found.shape == (2, 8, 3, 2)
    for place, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        for channel in range(2):
            for i in range(3):
                for j in range(2):
                    expected = x[:, channel, 2 * i + row, 2 * j + column]
                    assert found[:, 2 * place + channel, i, j].equal(expected)


def test_focus_of_one_square_by_hand() -> None:
    block = Focus(1, 1, 1, activation=False).eval()
    nn.init.zeros_(block.conv.conv.weight)
    block.conv.conv.weight.data[0, :, 0, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    # 1 · 1 + 10 · 3 + 100 · 2 + 1000 · 4; the norm divides by √(1 + 0.001)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert block(x).item() == pytest.approx(4231 / 1.001**0.5)


def test_fused_focus_is_one_convolution_of_pixels() -> None:
    block = Focus(1, 1, 1, activation=False).eval()
    nn.init.zeros_(block.conv.conv.weight)
    block.conv.conv.weight.data[0, :, 0, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    # The squares go down their columns: 1 is the pixel at (0, 0), 10 at (1, 0), 100 at (0, 1).
    weight = torch.tensor([[[[1.0, 100.0], [10.0, 1000.0]]]]) / 1.001**0.5
    conv = block.fuse().conv
    torch.testing.assert_close(conv.weight.data, weight)
    assert (conv.kernel_size, conv.stride, conv.padding) == ((2, 2), (2, 2), (0, 0))


@given(
    channels=st.integers(1, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    padding=st.none() | st.integers(0, 2),
)
def test_fused_focus_computes_the_same(
    channels: int, kernel: int, stride: int, padding: int | None
) -> None:
    block = Focus(channels, 4, kernel, stride, padding).double().eval()
    for name in ("weight", "bias", "running_mean"):
        nn.init.normal_(getattr(block.conv.bn, name))
    x = torch.randn(2, channels, 12, 16, dtype=torch.float64)
    torch.testing.assert_close(block.fuse()(x), block(x), rtol=0, atol=1e-12)


def test_fused_focus_of_groups_keeps_its_squares() -> None:
    block = Focus(2, 4, 3, groups=2).double().eval()
    assert isinstance(block.fuse()[0], ReOrg)
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(block.fuse()(x), block(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("c_out", "params"), [(32, 3520), (48, 5280)])
def test_params_of_yolov5s_and_m(c_out: int, params: int) -> None:
    # 12 · c · 9 weights and 2 · c of the norm
    assert sum(p.numel() for p in Focus(3, c_out, 3).parameters()) == params


@pytest.mark.parametrize("gain", [1, 2, 3])
def test_contract_is_torchs_unshuffling_in_another_order(gain: int) -> None:
    x = torch.rand(2, 5, 2 * gain, 3 * gain)
    theirs = nn.functional.pixel_unshuffle(x, gain)  # channel i · g² + place
    order = [i * gain**2 + place for place in range(gain**2) for i in range(5)]
    assert Contract(gain)(x).equal(theirs[:, order])


@given(
    gain=st.integers(1, 4), channels=st.integers(1, 3), height=st.integers(1, 3), width=st.just(2)
)
def test_expand_undoes_contract(gain: int, channels: int, height: int, width: int) -> None:
    x = torch.rand(2, channels, gain * height, gain * width)
    contracted = Contract(gain)(x)
    assert contracted.shape == (2, channels * gain**2, height, width)
    assert Expand(channels * gain**2, gain)(contracted).equal(x)


def test_expand_needs_enough_channels() -> None:
    with pytest.raises(ValueError, match="^argument 'gain': 3² does not divide 16 channels$"):
        Expand(16, 3)
