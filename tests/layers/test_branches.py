"""Sums of linear branches: MobileOne, DBB, ACNet; their definitions, their fused forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.layers.acnet import ACBlock
from detector.layers.branches import BranchSum, ConvNorm, IdentityNorm, PointwiseThen, Scaled
from detector.layers.conv import FusedConv
from detector.layers.dbb import DiverseBranchBlock
from detector.layers.mobileone import MobileOneBlock, MobileOneStage
from detector.layers.repvgg import randomise_batch_norms

BLOCKS: dict[str, Callable[..., BranchSum]] = {
    "mobileone": MobileOneBlock,
    "mobileone k=4": lambda *args, **kwargs: MobileOneBlock(*args, **kwargs, branches=4),
    "mobileone with SE": lambda *args, **kwargs: MobileOneBlock(*args, **kwargs, use_se=True),
    "dbb": DiverseBranchBlock,
    "acnet": ACBlock,
}


def randomised(block: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    randomise_batch_norms(block)
    return block.to(dtype).eval()


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (1, 1), (1, 2)])
@pytest.mark.parametrize("c_out", [8, 16])
@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_fuse(name: str, c_out: int, kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(0)
    block = randomised(BLOCKS[name](8, c_out, kernel, stride, groups=groups), torch.float32)
    x = torch.randn(2, 8, 9, 12)
    assert difference(block(x), block.fuse()(x)) <= 1e-4
    block, x = block.double(), x.double()
    expected = block(x)
    fused = block.fuse()
    assert difference(expected, fused(x)) <= 1e-10
    assert difference(expected, block(x)) == 0  # the block stays as it is
    assert isinstance(fused, FusedConv)
    assert fused.conv.weight.shape == (c_out, 8 // groups, kernel, kernel)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not hasattr(fused, "fuse"), "fusing twice changes nothing"


@torch.no_grad()
def test_mobileone_by_definition() -> None:
    block = randomised(MobileOneBlock(8, 8, groups=8, branches=2, activation="ReLU"))
    first, second, scale, identity = block.branches
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    expected = (
        first.bn(F.conv2d(x, first.conv.weight, padding=1, groups=8))
        + second.bn(F.conv2d(x, second.conv.weight, padding=1, groups=8))
        + scale.bn(F.conv2d(x, scale.conv.weight, groups=8))
        + identity.bn(x)
    )
    torch.testing.assert_close(block(x), expected.relu())


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 3),  # 3×3, scale, identity
        ({"branches": 4}, 6),
        ({"stride": 2}, 2),  # without the identity
        ({"c_out": 16}, 2),
        ({"kernel": 1}, 2),  # without the scale branch
        ({"kernel": 1, "c_out": 16}, 1),
    ],
)
def test_branches_of_mobileone(values: dict[str, int], count: int) -> None:
    block = MobileOneBlock(8, **{"c_out": 8, **values})
    assert len(block.branches) == count
    assert sum(isinstance(branch, IdentityNorm) for branch in block.branches) == (
        not values.keys() & {"stride", "c_out"}
    )


def test_stage_of_mobileone() -> None:
    """Pairs of depthwise and 1×1 blocks; the last ``attentive`` pairs have attention."""
    stage = MobileOneStage(8, 16, 3, attentive=1)
    convs = [block.branches[0].conv for block in stage]
    assert [(c.in_channels, c.out_channels, c.groups, c.stride[0]) for c in convs] == [
        (8, 8, 8, 2),
        (8, 16, 1, 1),
        *[(16, 16, 16, 1), (16, 16, 1, 1)] * 2,
    ]
    with_se = [not isinstance(block.se, nn.Identity) for block in stage]
    assert with_se == [False] * 4 + [True] * 2


@torch.no_grad()
def test_dbb_by_definition() -> None:
    """The features after the 1×1 convolutions are padded with their batch norm's output for 0."""
    block = randomised(DiverseBranchBlock(4, 6, activation=False))
    square, pointwise, deep, average = block.branches
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    bordered = F.pad(x, [1, 1, 1, 1])
    expected = (
        square.bn(F.conv2d(x, square.conv.weight, padding=1))
        + pointwise.bn(F.conv2d(x, pointwise.conv.weight))
        + deep.then.bn(F.conv2d(deep.pointwise(bordered), deep.then.conv.weight))
        + average.then.bn(F.avg_pool2d(average.pointwise(bordered), 3, 1))
    )
    torch.testing.assert_close(block(x), expected)


def test_two_forward_passes_before_one_backward_pass() -> None:
    """The second pass changes the batch norms' statistics, with which the first one padded."""
    block = DiverseBranchBlock(4, 6)
    x = torch.rand(2, 4, 5, 6)
    (block(x) + block(x + 1)).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


def test_the_deep_branch_of_dbb_begins_as_the_identity() -> None:
    block = DiverseBranchBlock(4, 6, groups=2)
    deep = block.branches[2]
    assert isinstance(deep, PointwiseThen)
    weight = deep.pointwise.conv.weight
    # two groups of two channels: a 2×2 unit matrix in each
    assert weight.flatten(1).tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


@torch.no_grad()
def test_acnet_by_hand() -> None:
    """Batch norms that change nothing: the kernels add up to a cross on the square."""
    block = ACBlock(1, 1, activation=False).double().eval()
    for number, branch in zip((1, 10, 100), block.branches, strict=True):
        assert isinstance(branch, ConvNorm)
        branch.conv.weight.fill_(number)
        branch.bn.eps = 0
    weight = block.fuse().conv.weight[0, 0]
    # rows: 1 + 10 in the middle row, 1 + 100 in the middle column, all three at the centre
    assert weight.tolist() == [[1, 101, 1], [11, 111, 11], [1, 101, 1]]


@torch.no_grad()
def test_a_scaled_branch() -> None:
    branch = Scaled(IdentityNorm(1))
    branch.alpha.fill_(3.0)
    branch.branch.bn.eps = 0
    branch.branch.bn.bias.fill_(2.0)
    weight, bias = branch.kernel()
    assert (weight.item(), bias.item()) == (3, 6)  # 3 · (x + 2)


@pytest.mark.parametrize("block", [MobileOneBlock, DiverseBranchBlock, ACBlock])
def test_refused(block: Callable[..., nn.Module]) -> None:
    block(6, 12, groups=3)
    with pytest.raises(ValueError, match="^argument 'groups': 4 does not divide 6 → 12 channels$"):
        block(6, 12, groups=4)
