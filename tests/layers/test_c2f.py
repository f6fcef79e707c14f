"""The cross-stage partial blocks of YOLOv8 and YOLO11, and the networks made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from detector.layers.c2f import C2, C2f, C3k, C3k2, SquareBottleneck
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.shared_norm import fused_copy
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile


def conv_params(c_in: int, c_out: int, kernel: int) -> int:
    """Return the weights of a convolution and of its batch norm."""
    return c_in * c_out * kernel**2 + 2 * c_out


def params(block: nn.Module) -> int:
    return sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize(("shortcut", "expansion", "hidden"), [(True, 1.0, 8), (False, 0.5, 4)])
def test_square_bottleneck(shortcut: bool, expansion: float, hidden: int) -> None:
    block = SquareBottleneck(8, shortcut, 2, expansion, "ReLU").eval()
    x = torch.randn(1, 8, 5, 5)
    branch = block.cv2(block.cv1(x))
    torch.testing.assert_close(block(x), branch + x if shortcut else branch)
    # cv1: 8 → hidden, 3×3; cv2: hidden → 8, 3×3 in two groups
    assert params(block) == conv_params(8, hidden, 3) + hidden // 2 * 8 * 9 + 16


def test_c2_by_definition() -> None:
    block = C2(16, 24, repeats=2).eval()
    x = torch.randn(1, 16, 5, 5)
    first, second = block.cv1(x).split(12, 1)
    for bottleneck in block.m:
        first = bottleneck(first)
    torch.testing.assert_close(block(x), block.cv2(torch.cat([first, second], 1)))


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("kind", [C2f, C3k2])
def test_chain_by_definition(kind: type[C2f], repeats: int) -> None:
    block = kind(16, 24, repeats).eval()
    x = torch.randn(1, 16, 5, 5)
    features = list(block.cv1(x).split(12, 1))
    for link in block.m:
        features.append(link(features[-1]))
    assert len(features) == 2 + repeats
    torch.testing.assert_close(block(x), block.cv2(torch.cat(features, 1)))


def test_params_by_hand() -> None:
    # Hidden width 16, two links: 1×1 convs 32 → 32 and 4 · 16 → 32, and the links.
    around = conv_params(32, 32, 1) + conv_params(64, 32, 1)
    whole = 2 * conv_params(16, 16, 3)
    half = conv_params(16, 8, 3) + conv_params(8, 16, 3)
    # A C3k of 16 channels has paths of 8, and two bottlenecks.
    nested = 2 * conv_params(16, 8, 1) + conv_params(16, 16, 1) + 2 * 2 * conv_params(8, 8, 3)
    assert params(C2f(32, 32, 2)) == around + 2 * whole
    assert params(C3k2(32, 32, 2)) == around + 2 * half
    assert params(C3k2(32, 32, 2, c3k=True)) == around + 2 * nested
    assert params(C3k(16, 16, 2)) == nested
    assert params(C3k(16, 16, 2, kernel=5)) == nested + 2 * 2 * 8 * 8 * (25 - 9)


def test_only_c2f_has_no_shortcut_by_default() -> None:
    assert not any(m.add for m in C2f(8, 8).m)
    assert all(m.add for m in (*C2(8, 8).m, *C3k(8, 8).m, *C3k2(8, 8).m))  # type: ignore[misc,union-attr]


@pytest.mark.parametrize(
    "block",
    [C2(8, 16), C2f(8, 16, 2, True), C3k(8, 16, 2), C3k2(8, 16, 2), C3k2(8, 16, c3k=True)],
    ids=lambda block: type(block).__name__,
)
def test_fuses(block: nn.Module) -> None:
    block = block.double().eval()
    randomise_batch_norms(block)
    x = torch.randn(2, 8, 8, 6, dtype=torch.float64)
    expected, fused = block(x), fused_copy(block)
    assert (fused(x) - expected).abs().max() / expected.abs().max() <= 1e-10
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


# ------------------------------------------------------------------------------- entire networks


def network(scales: str, stages: list[tuple[int, int, str]], last: list[str], block: str) -> str:
    """Return a model file: five stages of stride 2, pyramid, path aggregation, as in YOLOv5.

    Args:
        scales: the file's scales.
        stages: number, width and further arguments of each stage's blocks.
        last: rows after the pyramid.
        block: form of the neck's rows, with a place for width and further arguments.
    """
    rows = ["[-1, 1, Conv, [64, 3, 2]]"]
    for index, (number, width, more) in enumerate(stages):
        down = (128, 256, 512, 1024)[index]
        rows += [f"[-1, 1, Conv, [{down}, 3, 2]]", f"[-1, {number}, {block}, [{width}{more}]]"]
    rows += ["[-1, 1, SPPF, [1024, 5]]", *last]
    top = len(rows) - 1
    number, up, down_more = NECKS[block]
    rows += ["[-1, 1, nn.Upsample, [None, 2, nearest]]", "[[-1, 6], 1, Concat, [1]]"]
    rows += [f"[-1, {number}, {block}, [512{up}]]"]
    rows += ["[-1, 1, nn.Upsample, [None, 2, nearest]]", "[[-1, 4], 1, Concat, [1]]"]
    rows += [f"[-1, {number}, {block}, [256{up}]]", "[-1, 1, Conv, [256, 3, 2]]"]
    rows += [f"[[-1, {top + 3}], 1, Concat, [1]]", f"[-1, {number}, {block}, [512{up}]]"]
    rows += ["[-1, 1, Conv, [512, 3, 2]]", f"[[-1, {top}], 1, Concat, [1]]"]
    rows += [f"[-1, {number}, {block}, [1024{down_more}]]"]
    head = f"[[{top + 6}, {top + 9}, {top + 12}], 1, Detect, [nc]]"
    listed = "".join(f"  - {row}\n" for row in rows)
    return f"scales: {scales}\nbackbone:\n{listed}head:\n  - {head}\n"


NECKS = {"C2f": (3, "", ""), "C3k2": (2, ", False", ", True")}
V8 = network(
    "{n: [0.33, 0.25, 1024], s: [0.33, 0.5, 1024], m: [0.67, 0.75, 768], l: [1.0, 1.0, 512], "
    "x: [1.0, 1.25, 512]}",
    [(3, 128, ", True"), (6, 256, ", True"), (6, 512, ", True"), (3, 1024, ", True")],
    [],
    "C2f",
)
V11 = network(
    "{n: [0.5, 0.25, 1024], s: [0.5, 0.5, 1024], m: [0.5, 1.0, 512], l: [1.0, 1.0, 512], "
    "x: [1.0, 1.5, 512]}",
    [(2, 256, ", False, 0.25"), (2, 512, ", False, 0.25"), (2, 512, ", True"), (2, 1024, ", True")],
    ["[-1, 2, C2PSA, [1024]]"],
    "C3k2",
)


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [
        (V8, "n", 2_259_536),
        (V8, "s", 9_019_552),
        (V8, "m", 22_080_624),
        (V8, "l", 38_047_040),
        (V8, "x", 59_434_640),
        (V11, "n", 2_159_168),
        (V11, "s", 8_608_384),
        (V11, "m", 18_641_984),
        (V11, "l", 23_899_456),
        (V11, "x", 53_728_224),
    ],
)
def test_parameters_of_backbone_and_neck(text: str, scale: str, expected: int) -> None:
    """As counted in the networks that the package `ultralytics` builds, without their heads."""
    with torch.device("meta"):
        model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text), scale))
    assert sum(params(row) for row in model.rows[:-1]) == expected
