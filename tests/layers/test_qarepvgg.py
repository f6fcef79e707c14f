"""QARepVGG's block: its formula written out, and its fused form."""

import pytest
import torch
import torch.nn.functional as F

from detector.layers.qarepvgg import QARepVGGBlock
from detector.layers.repvgg import randomise_batch_norms


def test_by_definition():
    """Batch norm on the 3×3 branch and on the sum; none on 1×1 and identity."""
    block = QARepVGGBlock(8, 8).eval()
    randomise_batch_norms(block)
    x = torch.rand(2, 8, 6, 5)
    branches = block.conv_bn(F.conv2d(x, block.conv.weight, padding=1))
    branches = branches + F.conv2d(x, block.pointwise.weight) + x
    torch.testing.assert_close(block(x), F.silu(block.bn(branches)))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("c_out", "kernel", "stride"), [(8, 3, 1), (8, 3, 2), (16, 5, 1)])
def test_fuse(c_out: int, kernel: int, stride: int, groups: int):
    block = QARepVGGBlock(8, c_out, kernel, stride, groups).double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 9, 12, dtype=torch.float64)
    expected, found = block(x), block.fuse()(x)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10
