"""Every model file of ``cfg/`` builds, its rows are as declared, all its parameters are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from detector.heads.yolo import Detect
from detector.layers.repvgg import RepVGGBlock, randomise_batch_norms
from detector.model.builder import Feature, Row
from detector.model.deploy import fuse_modules
from detector.model.detector import build
from detector.model.model_file import read_model_file
from detector.utils.files import packaged_files


def params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def model_files() -> list[Any]:
    names = [name for name in packaged_files("cfg") if "/" not in name]
    return [_marked(name, variant) for name in names for variant in variants(name)]


LARGER = {"yolov5m", "yolov5l", "yolov5x", "ssd512_vgg16", "refinedet512_vgg16"}
LARGER |= {"ssd300_vgg16bn", "ssd512_repvgg_a0", "refinedet320_vovnet39", "yolov5_vgg16bn"}
"""Files with the rows of a smaller one (yolov5s, ssd300_vgg16, refinedet320_vgg16, vgg, vovnet),
more of them or wider ones."""

LARGE_VARIANTS = {"plus-L2pse", "B1g4", "19-bn"}
"""Those whose blocks are in a smaller one, or in a test of their own."""

NECKS = {"yolov5_neck", "yolox_neck", "dfl_neck", "ssd300_neck", "refinedet320_neck"}
QUICK_BACKBONES = {"yolov5n", "timm-resnet18"}
"""Backbones of the necks: one of rows and one that returns a list. tests/test_grid.py has a step
with each of the others, whose rows are those of their own files."""


def _marked(name: str, variant: str | None) -> Any:
    is_slow = name in LARGER or variant in LARGE_VARIANTS
    is_slow = is_slow or (name in NECKS and variant not in QUICK_BACKBONES)
    return pytest.param(name, variant, marks=[pytest.mark.slow] if is_slow else [])


ZOO = {
    "densenet": ["121", "67"],
    "densenet67": ["64-16"],
    "resnet": ["50"],
    "mobileone": ["s0", "s4"],
    "repvgg": ["A0", "B1g4", "plus-L2pse"],
    "vovnet": ["27-slim", "19-v2"],
    "vgg": ["16", "19-bn"],
    "yolov6": ["n", "m"],
    "ppyoloe": ["s"],
    "yolox": ["nano", "tiny"],
    "yolov9": ["t", "m"],
    "yolov8": ["n"],
    "yolo11": ["n", "m"],
}
"""Variants of large files that together use every feature of these files."""


def variants(name: str) -> list[str | None]:
    """Return the variants of a file that differ in their rows."""
    if name in ZOO:
        return [*ZOO[name]]
    keys = read_model_file(name).keys
    if all(variant.anchors is not None for variant in keys.variants.values()):
        return [keys.variant]
    return list(keys.variants)


def all_tensors(outputs: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of raw outputs, those for training only included."""
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for part in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from all_tensors(part)


@pytest.mark.parametrize(("name", "variant"), model_files())
def test_every_model_file(name: str, variant: str | None) -> None:
    """The file builds, each output is as declared, every parameter gets a gradient."""
    torch.manual_seed(0)
    model = build(name, classes=2, variant=variant)
    randomise_batch_norms(model)  # timm begins with a factor of 0 on each residual branch
    size_hw = model.fixed_size_hw or (64, 96)
    boxes_per_cell = 3 if isinstance(model.head, Detect) else None
    assert not model.definition.variant or model.definition.variant == variant
    seen: list[int] = []

    def check(row: Row) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.append(row.index)
            if row.index < len(model.plan) - 1:
                features = row.outputs or [Feature(row.channels, row.stride)]
                outputs = output if row.outputs else [output]
                for feature, tensor in zip(features, outputs, strict=True):
                    assert tensor.shape[1] == feature.channels
                    if model.fixed_size_hw is None:
                        sides = Fraction(64, tensor.shape[2]), Fraction(96, tensor.shape[3])
                        assert sides == (feature.stride, feature.stride)

        return hook

    hooks = [
        module.register_forward_hook(check(row))
        for row, module in zip(model.plan, model.rows, strict=True)
    ]
    if model.fixed_size_hw is not None:
        model.eval()  # its last features have one pixel, of which batch norm has no statistics
    raw_outputs = model(torch.rand(1, 3, *size_hw))
    for hook in hooks:
        hook.remove()
    assert seen == list(range(len(model.plan)))
    tensors = [*all_tensors(raw_outputs)]
    if boxes_per_cell:
        assert model.strides == (8, 16, 32)
        shapes = [(1, boxes_per_cell, 64 // s, 96 // s, 7) for s in model.strides]
        assert [tuple(raw.shape) for raw in raw_outputs] == shapes
    sum((raw * torch.rand_like(raw)).sum() for raw in tensors).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("ssd300_vgg16", 20, 26_285_486),
        ("ssd300_vgg16", 80, 34_305_206),
        ("ssd300_vgg16", 90, 35_641_826),
        ("ssd512_vgg16", 20, 27_188_676),
        ("ssd512_vgg16", 80, 36_038_196),
        ("ssd512_vgg16", 90, 37_513_116),
        ("yolov5n", None, 1_872_157),
        ("yolov5s", None, 7_235_389),
        ("yolov5m", None, 21_190_557),
        ("yolov5l", None, 46_563_709),
        ("yolov5x", None, 86_749_405),
        ("yolov5_repvgg", None, 13_906_045),
        ("yolov5_repvgg", 20, 13_744_225),
    ],
)
def test_published_params(name: str, classes: int | None, expected: int) -> None:
    with torch.device("meta"):
        assert params(build(name, classes)) == expected


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("yolox", "nano", 912_159),
        ("yolox", "tiny", 5_055_855),
        ("yolox", "s", 8_968_255),
        ("yolox", "m", 25_326_495),
        ("yolox", "l", 54_208_895),
        ("yolox", "x", 99_071_455),
        ("yolov9", "t", 3_717_648),
        ("yolov9", "s", 9_804_480),
        ("yolov9", "m", 32_878_400),
        ("yolov9", "c", 51_182_048),
        ("yolov8", "n", 3_157_184),
        ("yolov8", "s", 11_166_544),
        ("yolov8", "m", 25_902_624),
        ("yolov8", "l", 43_691_504),
        ("yolov8", "x", 68_229_632),
        ("yolo11", "n", 2_624_064),
        ("yolo11", "s", 9_458_736),
        # backbone, neck, head of the authors' code, without its constants 0, 1, … of the bins
        ("yolov6", "n", 3_435_296 + 1_193_952 + 428_988),
        ("yolov6", "s", 13_712_960 + 4_759_488 + 1_674_876),
        ("yolov6", "m", 25_716_780 + 8_243_052 + 3_781_116),
        ("ppyoloe", "s", 8_084_594),
        ("ppyoloe", "m", 24_134_904),
        ("ppyoloe", "l", 54_078_574),
        ("ppyoloe", "x", 102_331_508),
    ],
)
def test_published_params_of_variants(name: str, variant: str, expected: int) -> None:
    with torch.device("meta"):
        assert params(build(name, variant=variant)) == expected


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("t", 2_407_616), ("s", 7_105_872), ("m", 19_978_656), ("c", 25_288_752)],
)
def test_deployed_params_of_yolov9(variant: str, expected: int) -> None:
    """Without the auxiliary branch, each RepConv one convolution."""
    with torch.device("meta"):
        assert params(fuse_modules(build("yolov9", variant=variant))) == expected


def test_parts_of_yolov5_repvgg() -> None:
    with torch.device("meta"):
        model = build("yolov5_repvgg")
    kinds = [type(module) for module in model.modules()]
    assert sum(issubclass(kind, nn.Conv2d) for kind in kinds) == 71
    assert sum(issubclass(kind, nn.BatchNorm2d) for kind in kinds) == 85
    blocks = [module for module in model.modules() if isinstance(module, RepVGGBlock)]
    assert len(blocks) == 22
    assert sum(block.identity_bn is not None for block in blocks) == 17
    acts = {type(module).__name__ for module in model.modules() if "LU" in type(module).__name__}
    assert acts == {"SiLU"}
    assert model.plan[7].stride == 32  # the original's comment says 16
