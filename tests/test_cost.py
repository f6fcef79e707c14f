"""Parameters and multiply-adds, against the published figures and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detector.config import YamlFile
from detector.cost import cost
from detector.graph import Detector, build, build_model_file
from detector.model_file import check_model_file
from detector.reparam import fuse_modules

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
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), SMALL)))


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
    """Maps of this size would take terabytes."""
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    side = 1 << 20
    assert cost(model, (side, side)).macs == pytest.approx(
        cost(model, (1024, 1024)).macs * (side // 1024) ** 2, rel=1e-5
    )
    assert model.training
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
