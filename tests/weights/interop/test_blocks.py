"""Blocks of other projects: their order, ours, and an input of another mean and scale."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.layers.conv import Conv
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.structures.preprocess import Preprocess
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.blocks import (
    Block,
    NamePatterns,
    add,
    backbone_blocks,
    fit_input,
    read_blocks,
)

PATTERNS = NamePatterns(
    "X", ("stem", r"stages\.\d+"), ((r"\.c", "conv"), (r"\.(\w)", r"n.\1")), "fc"
)
SSD_INPUT = Preprocess(size_hw=(64, 64), mean_rgb=(123, 117, 104), scale_rgb=(1, 1, 1))


def test_blocks_are_read_in_the_order_of_the_patterns_and_of_numbers():
    names = ("stages.10.c.weight", "stages.9.c.weight", "stem.c.weight", "stem.b.bias", "fc.bias")
    blocks = read_blocks({name: torch.tensor(i) for i, name in enumerate(names)}, PATTERNS)
    assert [block.path for block in blocks] == ["stem", "stages.9", "stages.10"]
    assert blocks[0].tensors == {"conv.weight": 2, "n.b.bias": 3}
    assert read_blocks({}, PATTERNS) == []


def test_our_blocks_are_the_backbone_s_alone_or_in_a_row_of_many():
    text = """
anchors: 1
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 2, Conv, [8, 3, 2]]
  - [-1, 1, SPPF, [8, 5]]
head:
  - [-1, 1, Conv, [8, 3, 1]]
  - [-1, 1, Detect, [nc, anchors]]
"""
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)), 2)
    paths = [path for path, _ in backbone_blocks(model, (Conv,))]
    assert paths == ["rows.0", "rows.1.0", "rows.1.1"]


@pytest.mark.parametrize("bias", [False, True])
def test_an_input_of_another_mean_and_scale(bias: bool):
    """The same pixels give the same sums where the kernel does not reach over the border."""
    conv, norm = nn.Conv2d(3, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4, affine=False).eval()
    tensors = {f"conv.{name}": tensor.detach() for name, tensor in conv.named_parameters()}
    tensors |= {f"bn.{name}": tensor for name, tensor in norm.named_buffers()}
    fitted = fit_input(Block("stem", tensors), SSD_INPUT).tensors
    pixels = torch.rand(1, 3, 8, 8) * 255
    colours = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), SSD_INPUT.mean_rgb)
    mean, deviation, ours = (torch.tensor(each).view(3, 1, 1) for each in colours)
    with torch.no_grad():
        expected = norm(conv((pixels - mean) / deviation))
    x = F.conv2d((pixels - ours).double(), fitted["conv.weight"], fitted.get("conv.bias"))
    found = F.batch_norm(x, fitted["bn.running_mean"].double(), fitted["bn.running_var"].double())
    torch.testing.assert_close(found.float(), expected[..., 1:-1, 1:-1], atol=1e-5, rtol=0)
    assert tensors["conv.weight"].data_ptr() == conv.weight.data_ptr()  # copied, not changed


@pytest.mark.parametrize("squares", [1, 4], ids=["pixels", "2x2 pixels as channels"])
def test_an_input_of_another_channel_order(squares: int):
    """Weights for BGR in 0..255 give the same sums on RGB with SSD's mean."""
    source = Preprocess(size_hw=(64, 64), channel_order="bgr", scale_rgb=(1.0, 1.0, 1.0))
    conv = nn.Conv2d(3 * squares, 4, 3)
    tensors = {f"conv.{name}": tensor.detach() for name, tensor in conv.named_parameters()}
    fitted = fit_input(Block("stem", tensors), SSD_INPUT, source).tensors
    images = np.random.default_rng(0).integers(0, 256, (squares, 8, 8, 3), np.uint8)
    x, ours = (
        torch.from_numpy(preprocess.normalize(images)).flatten(0, 1)[None].double()
        for preprocess in (source, SSD_INPUT)
    )
    found = F.conv2d(ours, fitted["conv.weight"], fitted["conv.bias"])
    torch.testing.assert_close(found, conv.double()(x).detach(), atol=1e-4, rtol=1e-6)


def test_the_projects_own_input_changes_nothing():
    own = Preprocess(
        size_hw=(64, 64), mean_rgb=(123.675, 116.28, 103.53), scale_rgb=(58.395, 57.12, 57.375)
    )
    tensors = {"conv.weight": torch.rand(4, 3, 3, 3), "bn.running_mean": torch.rand(4)}
    fitted = fit_input(Block("stem", tensors), own).tensors
    assert all(torch.equal(fitted[name].float(), tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 3)])
def test_what_reads_no_colours_stays(shape: tuple[int, ...]):
    weight = torch.rand(shape)
    assert fit_input(Block("stem", {"conv.weight": weight}), SSD_INPUT).tensors == {
        "conv.weight": weight
    }


def test_values_of_another_shape_are_not_added():
    tensors = {"a": torch.zeros(2)}
    assert not add(tensors, "a", torch.ones(3))
    assert not add(tensors, "b", torch.ones(2))
    assert add(tensors, "a", torch.ones(2))
    assert tensors["a"].tolist() == [1, 1]
