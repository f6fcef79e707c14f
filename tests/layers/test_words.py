"""Every module name of published YOLO files builds, trains, deploys, rejects bad args."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy, fuse_modules
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.registry import contract
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

MODEL = """\
nc: 2
imgsz: 64
anchors: [[10, 13, 16, 30]]
KEYS
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, NUMBER, WORD, ARGS]
  - [-1, 1, nn.MaxPool2d, [2]]
head:
  - [-1, 1, Detect, [nc, anchors]]
"""
LINE = 7

ROWS = [
    ("AConv", "[24]"),
    ("ADown", "[24]"),
    ("Bottleneck", "[16]"),
    ("BottleneckCSP", "[16]"),
    ("BottleneckCSP", "[24, False, 2, 0.5]"),
    ("C2", "[24, False]"),
    ("C2PSA", "[16, 1.0]"),
    ("C2f", "[24, True, 2]"),
    ("C3", "[16, False]"),
    ("C3Ghost", "[16]"),
    ("C3Ghost", "[24, False, 1, 1.0]"),
    ("C3SPP", "[16, [3, 5, 7]]"),
    ("C3STR", "[64, False]"),
    ("C3STR", "[32, True, 1, 1.0]"),
    ("C3TR", "[16, False]"),
    ("C3TR", "[24, False, 1, 1.0]"),
    ("C3k", "[24, True, 1, 0.5, 5]"),
    ("C3k2", "[32, True, 0.25, 2]"),
    ("C3k2", "[16, False]"),
    ("C3x", "[16, True, 2]"),
    ("CBAM", "[16, 3]"),
    ("CoordAtt", "[]"),
    ("ECA", "[16]"),
    ("GSConv", "[24, 3, 2]"),
    ("SE", "[16, 4]"),
    ("SimAM", "[]"),
    ("VoVGSCSP", "[24, False]"),
    ("Contract", "[2]"),
    ("Contract", "[]"),
    ("CrossConv", "[16, 3, 1, 1, 1.0, True]"),
    ("CrossConv", "[24, 5, 2, 4, 0.5]"),
    ("DWConv", "[16, 3, 2]"),
    ("DenseLayer", "[8]"),
    ("DenseLayer", "[8, 12]"),
    ("DWConv", "[24, 3, 1, 2]"),
    ("DownC", "[24]"),
    ("ELAN1", "[16, 8, 4]"),
    ("ELAN", "[24, 8]"),
    ("Expand", "[2]"),
    ("Focus", "[16, 3]"),
    ("Focus", "[16, 3, 1, None, 4]"),
    ("GhostBottleneck", "[16, 3, 1]"),
    ("GhostBottleneck", "[24, 3, 2]"),
    ("GhostConv", "[16, 3, 2]"),
    ("GhostConv", "[16, 1, 1, 4]"),
    ("MP", "[]"),
    ("MP", "[2]"),
    ("MixConv2d", "[16, [1, 3], 2]"),
    ("MixConv2d", "[16, [3, 5, 7], 1, True]"),
    ("ReOrg", "[]"),
    ("NormAct", "[]"),
    ("PeleeStem", "[16]"),
    ("PreActConv", "[24, 3, 2]"),
    ("RepConv", "[16, 3, 1]"),
    ("RepConv", "[24, 3, 2, 1, 8]"),
    ("RepNCSP", "[24, False]"),
    ("RepNCSPELAN4", "[24, 16, 8, 2]"),
    ("RepNCSPELAN", "{c_out: 16, part: 8}"),
    ("SP", "[5]"),
    ("SP", "[3, 2]"),
    ("SPP", "[24, [5, 9, 13]]"),
    ("SPP", "[16]"),
    ("SPPCSPC", "[16]"),
    ("SPPELAN", "[24, 8]"),
    ("SPPF", "[24, 5]"),
    ("Silence", "[]"),
    ("TwoWayDenseLayer", "[8, 12]"),
    ("eSE", "[]"),
    ("_OSA_module", "[8, 16, 3]"),
    ("OSA_module", "[8, 24]"),
    ("nn.AvgPool2d", "[2]"),
    ("nn.BatchNorm2d", "[]"),
    ("nn.BatchNorm2d", "[16]"),
    ("nn.ConvTranspose2d", "[16, 2, 2]"),
    ("nn.ConvTranspose2d", "[16, 4, 2, 1, 0, 16]"),
    ("nn.MaxPool2d", "[2, 2, 0]"),
    ("nn.Upsample", "[None, 2, 'nearest']"),
    ("nn.ZeroPad2d", "[[0, 1, 0, 1]]"),
]


def model(word: str, args: str, number: int = 1, keys: str = "") -> Detector:
    text = MODEL.replace("KEYS", keys).replace("NUMBER", str(number))
    text = text.replace("WORD", word).replace("ARGS", args)
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))


@pytest.mark.parametrize(("word", "args"), ROWS)
def test_builds_trains_and_deploys(word: str, args: str) -> None:
    torch.manual_seed(1)
    network = model(word, args)
    raw_outputs = network(torch.rand(2, 3, 32, 32))
    sum((raw * torch.rand_like(raw)).sum() for raw in raw_outputs).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    randomise_batch_norms(network)
    fused, report = deploy(network)
    assert report.difference_fp64 <= 1e-10
    assert report.difference_fp32 <= 1e-4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    again = fuse_modules(fused)
    assert list(again.state_dict()) == list(fused.state_dict()), "fusing twice changes nothing"


@pytest.mark.parametrize(
    ("word", "inside"),
    [
        ("BottleneckCSP", "m"),
        ("C2", "m"),
        ("C2PSA", "m"),
        ("C2f", "m"),
        ("C3", "m"),
        ("C3k", "m"),
        ("C3k2", "m"),
        ("C3Ghost", "m"),
        ("C3TR", "m.tr"),
        ("C3x", "m"),
        ("RepNCSP", "m"),
        ("VoVGSCSP", "m"),
    ],
)
def test_these_repeat_inside(word: str, inside: str) -> None:
    assert len(model(word, "[16]", 3).rows[1].get_submodule(inside)) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "word", ["C3SPP", "DWConv", "DownC", "GhostBottleneck", "GhostConv", "RepConv", "SPP"]
)
def test_others_are_stacked(word: str) -> None:
    stack = model(word, "[16]", 3).rows[1]
    assert isinstance(stack, nn.Sequential)
    assert [type(block).__name__ for block in stack] == [word] * 3


@pytest.mark.parametrize(
    ("word", "args"),
    [(word, args) for word, args in ROWS if contract(word).takes("activation")],
)
def test_the_files_activation_is_everywhere(word: str, args: str) -> None:
    network = model(word, args, keys="activation: nn.LeakyReLU(0.1)")
    kinds = {type(module) for module in network.rows[1].modules()}
    assert nn.LeakyReLU in kinds
    assert nn.SiLU not in kinds


def test_width_multiple_scales_these() -> None:
    keys = "width_multiple: 0.5"
    for word in ("BottleneckCSP", "GhostConv", "MixConv2d", "SPPCSPC", "RepConv", "C3TR"):
        assert model(word, "[64]", keys=keys).plan[1].channels == 32
    assert model("nn.ConvTranspose2d", "[64, 2, 2]", keys=keys).plan[1].channels == 32
    assert model("nn.BatchNorm2d", "[16]", keys=keys).plan[1].channels == 8


def test_width_multiple_leaves_inner_widths_of_gelan() -> None:
    block = model("RepNCSPELAN4", "[64, 32, 16, 1]", keys="width_multiple: 0.5").rows[1]
    assert [m.conv.out_channels for m in (block.cv1, block.cv2[1], block.cv4)] == [32, 16, 32]


def test_activation_as_the_last_argument() -> None:
    network = model("RepConv", "[16, 3, 1, None, 1, nn.LeakyReLU(0.1)]")
    assert isinstance(network.rows[1].act, nn.LeakyReLU)


@pytest.mark.parametrize(
    ("word", "args", "message"),
    [
        ("ADown", "[15]",
         "argument 'c_out': expected an even number of channels, found 15"),
        ("BottleneckCSP", "[]",
         "argument 'c_out' is missing; expected [c_out, shortcut, groups, expansion, activation]"),
        ("BottleneckCSP", "[16, 1]", "argument 'shortcut': expected True or False, found 1"),
        ("BottleneckCSP", "[16, True, 1, 0.01]",
         "argument 'expansion': 0.01 of 16 channels leaves none"),
        ("C2PSA", "[24]", "argument 'c_out': expected 16 as in the input, found 24"),
        ("C2f", "[16, True, 3]", "argument 'groups': 3 does not divide 8 → 8 channels"),
        ("C3k2", "[16, 0.5]", "argument 'c3k': expected True or False, found 0.5"),
        ("C3Ghost", "[16, True, 2]", "argument 'groups': expected 1, found 2"),
        ("C3Ghost", "[12]", "a ghost bottleneck makes a multiple of 4 channels, found 6"),
        ("C3SPP", "[16, 5]",
         "argument 'kernels': expected a list of whole numbers, found 5"),
        ("C3STR", "[48]", "24 hidden channels: expected at least 32, one attention head"),
        ("C3STR", "[64, True, 2]", "argument 'groups': expected 1, found 2"),
        ("C3TR", "[12]", "6 hidden channels are not split by 4 attention heads"),
        ("C3TR", "[16, True, 4]", "argument 'groups': expected 1, found 4"),
        ("C3x", "[16, True, 3]", "argument 'groups': 3 does not divide 8 → 8 channels"),
        ("Contract", "[0]", "argument 'gain': expected a whole number of at least 1, found 0"),
        ("Contract", "[2, 2]", "takes at most 1 arguments, found 2; expected [gain]"),
        ("CrossConv", "[16, 2]", "argument 'kernel': expected an odd number, found 2"),
        ("DWConv", "[16, 3, 0]",
         "argument 'stride': expected a whole number of at least 1, found 0"),
        ("DownC", "[15]",
         "argument 'c_out': expected an even number of channels, found 15"),
        ("ELAN1", "[16]",
         "argument 'part' is missing; expected [c_out, part, process, activation]"),
        ("ELAN", "[16, 9]",
         "argument 'part': expected an even number of channels, found 9"),
        ("Expand", "[3]", "argument 'gain': 3² does not divide 16 channels"),
        ("Focus", "{c_out: 16, kernal: 3}",
         "unknown argument 'kernal'; did you mean 'kernel'?"),
        ("GhostConv", "[15]", "argument 'c_out': expected an even number of channels, found 15"),
        ("MP", "[0]", "argument 'kernel': expected a whole number of at least 1, found 0"),
        ("MixConv2d", "[16, 3]",
         "argument 'kernels': expected a list of whole numbers, found 3"),
        ("MixConv2d", "[16, [1, 2]]",
         "argument 'kernels': expected odd numbers, found [1, 2]"),
        ("MixConv2d", "[16, [1, 3], 1, False]",
         "argument 'equal_channels': expected True, found False"),
        ("RepConv", "[16, 4]", "argument 'kernel': expected an odd number, found 4"),
        ("RepConv", "[16, 3, 1, 0]",
         "argument 'padding': the branches fit only with 1 here, found 0"),
        ("RepNCSPELAN4", "[16, 8, 8, 0]",
         "argument 'bottlenecks': expected a whole number of at least 1, found 0"),
        ("SP", "[2]", "argument 'kernel': expected an odd number, found 2"),
        ("SPP", "[16, [5, 9.5]]",
         "argument 'kernels': expected a list of whole numbers, found [5, 9.5]"),
        ("SPP", "[16, [5, 8]]", "argument 'kernels': expected odd numbers, found [5, 8]"),
        ("SPPCSPC", "[16, []]", "argument 'kernels': expected odd numbers, found []"),
        ("DenseLayer", "[]",
         "argument 'growth' is missing; expected [growth, bottleneck, activation, eps, momentum]"),
        ("TwoWayDenseLayer", "[7, 8]",
         "argument 'growth': expected an even number, found 7"),
        ("nn.AvgPool2d", "[2, 2, 2]",
         "argument 'padding': expected at most half of the kernel, found 2"),
        ("nn.BatchNorm2d", "[8]", "argument 'num_features': expected 16, found 8"),
        ("nn.ConvTranspose2d", "[16]",
         "argument 'kernel_size' is missing; expected [c_out, kernel_size, stride, padding, "
         "output_padding, groups, bias, dilation]"),
        ("nn.ConvTranspose2d", "[16, 2, 2, 0, 0, 5]",
         "argument 'groups': 5 does not divide 16 → 16 channels"),
        ("nn.ZeroPad2d", "[[1, 2]]",
         "argument 'padding': expected pixels or [left, right, top, bottom], found [1, 2]"),
        ("nn.ZeroPad2d", "['1']",
         "argument 'padding': expected a whole number or a list of whole numbers, found '1'"),
    ],
)  # fmt: skip
def test_refused(word: str, args: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        model(word, args)
    assert str(caught.value) == f"a.yaml:{LINE}: row 1 ({word}): {message}"
