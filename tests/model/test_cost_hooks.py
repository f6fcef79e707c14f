"""Multiply-adds against an independent count: hooks on layers that compute real tensors."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.layers.psa import SpatialAttention
from detector.model.cost import cost
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build, build_model_file
from detector.model.model_file import check_model_file, read_model_file
from detector.utils.files import packaged_files
from detector.utils.yaml_file import YamlFile

ATTENTION = """
nc: 2
imgsz: 64
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 2, C3TR, [16]]
  - [-1, 2, C2PSA, [16]]
  - [-1, 1, nn.ConvTranspose2d, [8, 2, 2]]
head:
  - [[2, 3], 1, Detect, [nc, anchors]]
"""

FAST = {
    ("repvgg", "A0"),
    ("vovnet", "27-slim"),
    ("vovnet", "39-v2"),
    ("yolov5_neck", "repvgg-A0"),
    ("yolov5_repvgg", "n"),
    ("yolov5n", None),
    ("yolov7_tiny", None),
    ("ssd300_neck", "vovnet-27-slim"),
    ("densenet67", "64-16"),
    ("peleenet", None),
}


def networks() -> list[Any]:
    """Return every packaged model file with each of its variants; large ones are marked slow."""
    found = []
    for name in packaged_files("cfg"):
        if "/" not in name:  # cfg/train/ holds presets
            for variant in read_model_file(name).keys.variants or (None,):
                marks = () if (name, variant) in FAST else (pytest.mark.slow,)
                found.append(pytest.param(name, variant, marks=marks))
    return found


def hooked_macs(model: Detector, size_hw: tuple[int, int]) -> int:
    """Return the multiply-adds for one image, from the real shapes of each layer's tensors."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.in_channels // layer.groups * prod(layer.kernel_size)
        elif isinstance(layer, nn.ConvTranspose2d):
            weights = layer.out_channels // layer.groups * prod(layer.kernel_size)
            total += inputs[0].numel() * weights
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features
        elif isinstance(layer, nn.MultiheadAttention):
            _, cells, channels = output[0].shape
            # Four projections; queries × keys, then their weights × values.
            total += 4 * cells * channels**2 + 2 * cells**2 * channels
        elif isinstance(layer, SpatialAttention):
            cells = prod(output.shape[2:])
            total += cells**2 * layer.heads * (layer.key + layer.value)

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    with torch.inference_mode():
        model.eval()(torch.rand(1, 3, *size_hw))
    for hook in hooks:
        hook.remove()
    return total


def check(model: Detector) -> None:
    size_hw = model.fixed_size_hw or (model.max_stride, 2 * model.max_stride)
    for form in (model, fuse_modules(model)):
        assert cost(form, size_hw).macs == hooked_macs(form, size_hw)


@pytest.mark.parametrize(("name", "variant"), networks())
def test_packaged(name: str, variant: str | None) -> None:
    check(build(name, 10, variant))


def test_attention_and_transposed_convolution() -> None:
    check(build_model_file(check_model_file(YamlFile(Path("a.yaml"), ATTENTION))))


def test_the_fast_ones_exist() -> None:
    assert {param.values for param in networks()} >= FAST
