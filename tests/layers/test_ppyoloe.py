"""PP-YOLOE's blocks: their definitions, their fused forms, the published counts of its backbone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.layers.ppyoloe import AlphaRepVGGBlock, CSPPANStage, CSPResStage
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy


def randomised(block: nn.Module) -> nn.Module:
    randomise_batch_norms(block)
    for name, parameter in block.named_parameters():
        if name.endswith("alpha"):
            parameter.data.fill_(0.7)
    return block.double().eval()


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64)


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def test_alpha_by_definition() -> None:
    block: AlphaRepVGGBlock = randomised(AlphaRepVGGBlock(4, 6))
    square, scaled = block.branches
    x = random(2, 4, 6, 5)
    pointwise = scaled.branch
    expected = square.bn(F.conv2d(x, square.conv.weight, padding=1)) + 0.7 * pointwise.bn(
        F.conv2d(x, pointwise.conv.weight)
    )
    torch.testing.assert_close(block(x), F.silu(expected))


def test_alpha_is_one_value_and_optional() -> None:
    with_alpha, without = AlphaRepVGGBlock(4, 6), AlphaRepVGGBlock(4, 6, alpha=False)
    assert params(with_alpha) - params(without) == 1
    assert [p.tolist() for n, p in with_alpha.named_parameters() if n.endswith("alpha")] == [[1]]


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize(
    ("c_out", "kernel", "stride", "groups"), [(8, 3, 1, 1), (16, 3, 2, 1), (8, 5, 1, 8)]
)
@torch.no_grad()
def test_alpha_fuses(c_out: int, kernel: int, stride: int, groups: int, alpha: bool) -> None:
    block = randomised(AlphaRepVGGBlock(8, c_out, kernel, stride, groups, alpha))
    x = random(2, 8, 9, 12)
    expected, found = block(x), block.fuse()(x)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10


@torch.no_grad()
def test_stage_of_the_backbone_by_definition() -> None:
    """Strided conv to (4 + 12) / 2 = 8 channels; 4 in each path; ESE on the 8."""
    stage: CSPResStage = randomised(CSPResStage(4, 12, 1))
    down, csp = stage
    x = down(random(1, 4, 12, 8))
    assert x.shape == (1, 8, 6, 4)
    deep = csp.conv2(x)
    block = csp.chain[0]
    deep = deep + block.conv2(block.conv1(deep))
    paths = torch.cat((csp.conv1(x), deep), 1)
    assert paths.shape[1] == 8
    fc = csp.attention.fc
    gate = F.hardsigmoid(fc(paths.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(csp(x), csp.conv3(paths * gate))


@pytest.mark.parametrize(("repeats", "place"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_place_of_the_pyramid(repeats: int, place: int) -> None:
    """After pair (n − 1) // 2, counted from 0, as in the published files."""
    stage = CSPPANStage(8, 16, repeats, spp=True)
    kinds = [type(module).__name__ for module in stage.chain]
    assert len(kinds) == repeats + 1
    assert kinds.index("Sequential") == place


@torch.no_grad()
def test_stage_of_the_neck_by_definition() -> None:
    stage: CSPPANStage = randomised(CSPPANStage(6, 8, 1))
    x = random(1, 6, 5, 7)
    deep = stage.conv2(x)
    block = stage.chain[0]
    deep = block.conv2(block.conv1(deep))
    torch.testing.assert_close(stage(x), stage.conv3(torch.cat((stage.conv1(x), deep), 1)))


@pytest.mark.parametrize(
    "block", [CSPResStage(8, 16, 2), CSPPANStage(8, 12, 2), CSPPANStage(8, 12, 3, spp=True)]
)
@torch.no_grad()
def test_fuse(block: nn.Module) -> None:
    block = randomised(block)
    fused = fused_copy(block)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    x = random(1, 8, 10, 12)
    expected, found = block(x), fused(x)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10


def test_params_of_a_stage() -> None:
    """Stage 1 of PP-YOLOE+ s: 32 → 64 channels, one pair; by hand."""
    # 3×3 32 → 48 and its norm; two 1×1 48 → 24; pair: 3×3, 3×3 + 1×1, three norms, α; ESE 48; 1×1
    expected = (
        (32 * 48 * 9 + 2 * 48)
        + 2 * (48 * 24 + 2 * 24)
        + (24 * 24 * 19 + 3 * 2 * 24 + 1)
        + (48 * 48 + 48)
        + (48 * 64 + 2 * 64)
    )
    assert params(CSPResStage(32, 64, 1)) == expected
