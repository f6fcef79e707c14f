"""Parameters, multiply-adds and memory, against the published metrics and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detector.model.cost import cost
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile

SMALL = """
nc: 1
imgsz: 64
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 2, RepVGGBlock, {c_out: 8, groups: 2}]
  - [-1, 1, SEBlock, [2]]
  - [-1, 1, nn.MaxPool2d, [2]]
head:
  - [[-1, 2], 1, Detect, [nc, anchors]]
"""


def small() -> Detector:
    return build_text(SMALL)


def build_text(text: str) -> Detector:
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))


def test_by_hand() -> None:
    found = cost(small(), (32, 64))
    assert [row.shapes for row in found.rows] == [
        ((8, 16, 32),),
        ((8, 16, 32),),
        ((8, 16, 32),),
        ((8, 8, 16),),
        ((1, 8, 16, 6), (1, 16, 32, 6)),
    ]
    pixels = 16 * 32
    macs = [
        pixels * 8 * 3 * 9,
        2 * pixels * 8 * 4 * (9 + 1),  # each output sees 4 of 8 channels, 3×3 and 1×1
        8 * 4 + 4 * 8,  # the attention's two 1×1 convolutions on one pixel
        0,
        (pixels // 4 + pixels) * 8 * 6,
    ]
    assert [row.macs for row in found.rows] == macs
    params = [
        8 * 3 * 9 + 16,
        2 * (8 * 4 * 9 + 8 * 4 + 3 * 16),  # two kernels, three norms
        (8 * 4 + 4) + (4 * 8 + 8),
        0,
        2 * (8 * 6 + 6),
    ]
    assert [row.params for row in found.rows] == params
    assert (found.params, found.macs) == (sum(params), sum(macs))
    assert found.size_hw == (32, 64)
    access = [
        pixels * (3 + 8) + 8 * 3 * 9,  # of a strided convolution the output's cells count
        2 * (2 * pixels * (8 + 8) + 8 * 4 * (9 + 1)),
        2 * (8 + 4 + 8 * 4),
        0,
        (pixels // 4 + pixels) * (8 + 6) + 2 * 8 * 6,
    ]
    assert [row.memory_access for row in found.rows] == access
    assert found.memory_access == sum(access)
    elements = [
        pixels * 8,
        3 * pixels * 8,  # a block's input, the sum of two branches, the third branch
        pixels * 8 + 8,  # the features that are scaled, and the channels' averages
        pixels * 8 + pixels // 4 * 8,  # the head reads both
        pixels * 8 + pixels // 4 * 8,
    ]
    assert [row.peak_activation_bytes for row in found.rows] == [4 * n for n in elements]
    assert found.peak_activation_bytes == 4 * elements[1]


def test_deployed_blocks_keep_one_copy() -> None:
    found = cost(fuse_modules(small()), (32, 64))
    assert found.rows[1].peak_activation_bytes == 4 * 16 * 32 * 8
    # 4 of 8 channels, twice; the 1×1 branches are gone
    assert found.rows[1].memory_access == 2 * (16 * 32 * (8 + 8) + 8 * 4 * 9)


@pytest.mark.parametrize(("shortcut", "copies"), [(False, 1), (True, 2)])
def test_a_residual_block_keeps_twice_its_input(shortcut: bool, copies: int) -> None:
    """Peak memory of residual and plain blocks (RepVGG's paper, figure 3)."""
    model = build_text(f"""
nc: 1
imgsz: 32
anchors: [[10, 13]]
backbone:
  - [-1, 1, Conv, [8, 3]]
  - [-1, 3, Bottleneck, {{c_out: 8, shortcut: {shortcut}, expansion: 1.0}}]
head:
  - [[-1], 1, Detect, [nc, anchors]]
""")
    for form in (model, fuse_modules(model)):
        assert cost(form, (32, 32)).rows[1].peak_activation_bytes == copies * 4 * 32 * 32 * 8


@pytest.mark.parametrize("variant", ["A0", "B0"])
def test_plain_repvgg_keeps_half(variant: str) -> None:
    """The first block, with two branches, has the largest features of RepVGG."""
    with torch.device("meta"):
        model = build("repvgg", variant=variant)
        trained, deployed = cost(model, (224, 224)), cost(fuse_modules(model), (224, 224))
    assert trained.peak_activation_bytes == 2 * deployed.peak_activation_bytes


def test_rows_are_described() -> None:
    rows = cost(small(), (64, 64)).rows
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert [row.sources for row in rows] == [(-1,), (0,), (1,), (2,), (3, 2)]
    assert [row.number for row in rows] == [1, 2, 1, 1, 1]
    assert rows[1].module == "RepVGGBlock"
    assert rows[1].args == {"c_out": 8, "groups": 2}
    assert [row.stride for row in rows] == [2, 2, 2, 4, None]


@pytest.mark.parametrize(
    ("name", "train_params", "deploy_params", "train_gmac", "deploy_gmac"),
    [
        ("yolov5_repvgg", 13_906_045, 12_798_333, 23.683, 21.619),
        ("yolov5n", 1_872_157, 1_867_405, 2.234, 2.234),
    ],
)
def test_published(
    name: str, train_params: int, deploy_params: int, train_gmac: float, deploy_gmac: float
) -> None:
    model = build(name)
    trained, deployed = cost(model, (640, 640)), cost(fuse_modules(model), (640, 640))
    assert trained.params == train_params
    assert deployed.params == deploy_params
    assert trained.macs / 1e9 == pytest.approx(train_gmac, abs=5e-4)
    assert deployed.macs / 1e9 == pytest.approx(deploy_gmac, abs=5e-4)


def test_nothing_is_computed() -> None:
    """Real features of this size would take terabytes."""
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    side = 1 << 20
    assert cost(model, (side, side)).macs == pytest.approx(
        cost(model, (1024, 1024)).macs * (side // 1024) ** 2, rel=1e-5
    )
    assert model.training
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
