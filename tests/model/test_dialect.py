"""Names that mean other modules in model files of YOLOv8 and later."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detector.heads.classify import ConvClassify
from detector.heads.distribution import DFLHead
from detector.heads.yolo import Detect
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.registry import dialect_of
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

MODEL = """
nc: 2
imgsz: 64
backbone:
  - [-1, 1, Conv, [20, 3, 8]]
  - [-1, 1, Bottleneck, [20]]
  - [-1, 1, RepConv, [20]]
head:
  - [[-1], 1, HEAD, ARGS]
"""


SCALES = "scales: {n: [1, 1, 64]}\nscale: n\n"


def small(head: str, args: str, keys: str = "", block: str = "Bottleneck") -> Detector:
    text = keys + MODEL.replace("HEAD", head).replace("ARGS", args).replace("Bottleneck", block)
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))


def test_names_of_yolov5() -> None:
    model = small("Detect", "[nc, [[8, 8]]]")
    assert type(model.head) is Detect
    assert [row.channels for row in model.plan] == [20, 20, 20, 0]
    assert model.rows[1].cv1.conv.kernel_size == (1, 1)
    assert model.rows[2].identity_bn is not None


@pytest.mark.parametrize(
    "keys", ["", "scales: {n: [1, 1, 64]}\nscale: n\n"], ids=["head", "scales"]
)
def test_names_of_yolov8(keys: str) -> None:
    """Widths are rounded up to multiples of 8, here 20 to 24, where no multiple is given, too."""
    model = small("Detect", "[nc]", keys)
    assert isinstance(model.head, DFLHead)
    assert [row.channels for row in model.plan] == [24, 24, 24, 0]
    assert model.rows[1].cv1.conv.kernel_size == (3, 3)
    assert model.rows[2].identity_bn is None


def test_a_file_with_anchors_is_of_yolov5() -> None:
    with pytest.raises(DetectorError, match="argument 'anchors' is missing"):
        small("Detect", "[nc]", "anchors: [[8, 8]]\n")


def test_the_class_branch_beside_c3k2() -> None:
    assert not small("Detect", "[nc]").head.separable
    model = small("Detect", "[nc]", block="C3k2")
    assert model.head.separable


def test_a_classifier() -> None:
    """1280 · 24 + 2 · 1280 of the conv, 1280 · 2 + 2 of the linear layer."""
    model = small("Classify", "[nc]", SCALES)
    assert isinstance(model.head, ConvClassify)
    assert sum(p.numel() for p in model.head.parameters()) == 1280 * 24 + 2560 + 2562
    randomise_batch_norms(model)
    fused, report = deploy(model)
    assert report.difference_fp64 <= 1e-10
    assert isinstance(fused.head, ConvClassify)
    assert fused.decode(fused(torch.rand(1, 3, 64, 64)))[0].shape == (1, 2)


def test_a_classifier_of_two_rows() -> None:
    text = SCALES + MODEL.replace("[[-1]", "[[-1, -2]")
    text = text.replace("HEAD", "Classify").replace("ARGS", "[nc]")
    with pytest.raises(DetectorError, match="reads one row, found 2"):
        build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))


def test_the_dialect_follows_from_what_is_complete() -> None:
    assert dialect_of("Detect", ["nc"]) == "ultralytics"
    assert dialect_of("Detect", ["nc", [[8, 8]]]) is None
    assert dialect_of("Classify", ["nc"]) is None  # complete without a dialect
