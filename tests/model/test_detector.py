"""Networks built from rows: their structure and their outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detector.model.builder import IMAGE, scale_width
from detector.model.detector import Detector, build, build_model_file, rebuild, run_empty
from detector.model.model_file import check_model_file
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

KEYS = "nc: 3\nimgsz: 64\nanchors: [[10, 13], [30, 61]]\n"


def build_text(rows: str, keys: str = KEYS, **values: Any) -> Detector:
    file = YamlFile(Path("a.yaml"), f"{keys}{rows}")
    return build_model_file(check_model_file(file), **values)


# --------------------------------------------------------------------------------- what rows say

PLAIN = """
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[1, 2], 1, Detect, [nc, anchors]]
"""


def test_indices() -> None:
    model = build_text("""
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [0, 1, Conv, [16, 3, 1]]
  - [[-1, -2], 1, Concat, [1]]
  - [-4, 1, Conv, {c_out: 24, kernel: 3, stride: 2}]
  - [[3], 1, Conv, [24]]
head:
  - [[2, -1], 1, Detect, [nc, anchors]]
""")
    assert [row.sources for row in model.plan] == [(IMAGE,), (0,), (1, 0), (IMAGE,), (3,), (2, 4)]
    assert [row.channels for row in model.plan] == [8, 16, 24, 24, 24, 0]
    assert model.strides == (2, 2)
    assert model.rows[3].conv.in_channels == 3  # type: ignore[union-attr]


LEVELS = """
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 1]]
  - [-1, 1, Conv, [8, 3, 3]]
head:
  - [P2, 1, Conv, [8, 3, 2]]
  - [-1, 1, nn.Upsample, [None, 2]]
  - [[P2, -1, P1], 1, Detect, [nc, 1]]
"""


def test_levels() -> None:
    """Levels such as P4 are the backbone's last rows of their strides, never rows of the head."""
    model = build_text(LEVELS, keys="imgsz: 96\n")
    assert [row.sources for row in model.plan[4:]] == [(2,), (4,), (2, 5, 0)]
    assert model.strides == (4, 4, 2)


@pytest.mark.parametrize(("level", "stride"), [("P3", 8), ("P0", 1), ("P10", 1024)])
def test_level_that_the_backbone_does_not_have(level: str, stride: int) -> None:
    with pytest.raises(DetectorError) as caught:
        build_text(LEVELS.replace("[P2, -1", f"[{level}, -1"), keys="imgsz: 96\n")
    assert str(caught.value) == (
        f"a.yaml:11: row 6 (Detect): 'from' {level}: no backbone row has stride {stride}; "
        "their strides are 2, 4, 12"
    )


@pytest.fixture
def named(tmp_path: Path) -> Path:
    (tmp_path / "family.yaml").write_text(
        "activation: ReLU\nwidth_multiple: 0.5\nbackbone:\n  - [-1, 2, Conv, [32, 3, 2]]\n"
        "  - [-1, 1, OSA, [32, 16]]\nhead: []\n"
    )
    path = tmp_path / "named.yaml"
    path.write_text(
        "imgsz: 64\nactivation: SiLU\nbackbone: {cfg: family.yaml}\nhead:\n"
        "  - [P2, 1, Conv, [32, 3]]\n  - [[0, -1], 1, Detect, [nc, 1]]\n"
    )
    return path


def test_a_named_backbone(named: Path) -> None:
    model = build(named, 2)
    assert [row.channels for row in model.plan] == [16, 16, 32, 0]
    assert [row.sources for row in model.plan] == [(IMAGE,), (0,), (1,), (0, 2)]
    kinds = [{type(module) for module in row.modules()} for row in model.rows]
    assert [nn.ReLU in kind for kind in kinds] == [True, True, False, False]
    assert [nn.SiLU in kind for kind in kinds] == [False, False, True, False]
    named.write_text(named.read_text().replace("family.yaml}", "family.yaml, activation: Mish}"))
    assert isinstance(build(named, 2).rows[0][0].act, nn.Mish)  # type: ignore[index]


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "message"),
    [
        ("family", "OSA, [32, 16]", "OSA, [32]", 5, "row 1 (OSA): argument 'width' is missing; "
         "expected [c_out, width, convs, ese, bottleneck, activation, identity]"),
        ("family", "OSA", "OSB", 5, "row 1: unknown module 'OSB'; did you mean 'OSA'?"),
        ("family", "ReLU", "ReLu9", 1, "unknown activation 'ReLu9'; did you mean 'ReLU'?"),
        ("named", "P2", "7", 5, "row 2 (Conv): 'from' 7 is not an earlier row, expected -3 "
         "(the image) to 1"),
        ("named", "family.yaml}", "family.yaml, activation: Sigmoi}", 3,
         "unknown activation 'Sigmoi'; did you mean 'Sigmoid'?"),
    ],
)  # fmt: skip
def test_errors_name_the_file_of_the_row(
    named: Path, file: str, old: str, new: str, line: int, message: str
) -> None:
    path = named.with_name(f"{file}.yaml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DetectorError) as caught:
        build(named)
    assert str(caught.value) == f"{path}:{line}: {message}"


@pytest.mark.parametrize(("keys", "channels"), [("", 100), ("width_multiple: 1.0\n", 104)])
def test_widths_are_rounded_where_a_multiple_is_given(keys: str, channels: int) -> None:
    """YOLOv5's files always have a width multiple, and YOLOv5 rounds even for a multiple of 1."""
    rows = "backbone: [[-1, 1, Conv, [100, 3, 4]]]\nhead: [[-1, 1, Detect, [nc, [[1, 2]]]]]\n"
    assert build_text(keys + rows).plan[0].channels == channels


@pytest.mark.parametrize("none", ["None", "'None'", "null", "~"])
def test_none_and_nn_names(none: str) -> None:
    model = build_text(f"""
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, nn.Upsample, [{none}, 2, 'nearest']]
head:
  - [[-1, 0], 1, Detect, [nc, anchors]]
""")
    assert model.plan[1].arguments == {"size": None, "scale_factor": 2, "mode": "nearest"}
    assert model.strides == (2, 4)


@pytest.mark.parametrize(
    ("width", "multiple", "expected"),
    [
        (64, 1.0, 64),
        (100, 1.0, 104),
        (64, 0.5, 32),
        (64, 0.25, 16),
        (100, 0.25, 32),  # 25 → 32
        (1024, 1.25, 1280),
        (8, 0.01, 8),
    ],
)
def test_scale_width(width: int, multiple: float, expected: int) -> None:
    assert scale_width(width, multiple) == expected


@pytest.mark.parametrize(
    ("number", "multiple", "repeats"),
    [(1, 0.33, 1), (3, 0.33, 1), (6, 0.33, 2), (9, 0.33, 3), (3, 1.33, 4), (1, 4.0, 1)],
)
def test_depth_multiple(number: int, multiple: float, repeats: int) -> None:
    """Numbers above 1 are scaled, rounded, and at least 1; blocks with ``repeats`` receive them."""
    model = build_text(
        f"""
backbone:
  - [-1, {number}, C3, [8]]
  - [-1, {number}, Conv, [8, 3, 1]]
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [[-1, 1], 1, Detect, [nc, anchors]]
""",
        keys=f"{KEYS}depth_multiple: {multiple}\n",
    )
    inside, stacked = model.rows[0], model.rows[1]
    assert len(inside.m) == repeats  # type: ignore[arg-type]
    assert len(stacked) == repeats if isinstance(stacked, nn.Sequential) else repeats == 1
    assert model.plan[0].number == model.plan[1].number == repeats


def test_stacked_blocks_multiply_their_strides_and_read_each_others_width() -> None:
    model = build_text("""
backbone:
  - [-1, 3, Conv, [8, 3, 2]]
  - [-1, 2, nn.MaxPool2d, [2]]
head:
  - [[0, 1], 1, Detect, [nc, anchors]]
""")
    assert model.strides == (8, 32)
    stack = model.rows[0]
    assert isinstance(stack, nn.Sequential)
    assert [conv.conv.in_channels for conv in stack] == [3, 8, 8]  # type: ignore[union-attr]


def test_activation_of_the_file_and_of_a_row() -> None:
    model = build_text(
        """
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C3, [8]]
  - [-1, 1, Conv, {c_out: 8, stride: 2, activation: Hardswish}]
  - [-1, 1, SEBlock, [4]]
head:
  - [[1, 3], 1, Detect, [nc, anchors]]
""",
        keys=KEYS + "activation: nn.LeakyReLU(0.1)\n",
    )
    assert isinstance(model.rows[0].act, nn.LeakyReLU)
    assert model.rows[0].act.negative_slope == 0.1
    kinds = {type(module) for module in model.rows[1].modules()}
    assert nn.LeakyReLU in kinds
    assert nn.SiLU not in kinds
    assert isinstance(model.rows[2].act, nn.Hardswish)


def test_names() -> None:
    assert build_text(PLAIN).names == ("class0", "class1", "class2")
    assert build_text(PLAIN, classes=2).names == ("class0", "class1")
    assert build_text(PLAIN, classes=["a", "b"]).names == ("a", "b")
    named = "names: [x, y]\nanchors: [[10, 13], [30, 61]]\n"
    assert build_text(PLAIN, keys=named).names == ("x", "y")
    assert build_text(PLAIN, keys=named, classes=2).names == ("x", "y")
    assert build_text(PLAIN, keys=named, classes=5).names[4] == "class4"
    assert build_text(PLAIN, keys=named, classes=5).head.nc == 5


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (0, "expected 1 to 100000 classes, found 0"),
        (10**9, "expected 1 to 100000 classes, found 1000000000"),
        ([], r"expected class names or their number, found \[\]"),
        ("cat", "expected class names or their number, found 'cat'"),
        (True, "expected class names or their number, found True"),
        (2.0, "expected class names or their number, found 2.0"),
        ([1, 2], "class 0: expected a class name, found 1; put it in quotes"),
        (["a", ""], "class 1: expected a class name, found ''"),
        (["a", "b", "a"], "class 2: class name 'a' appears twice"),
        (["a"] * 100_001, "expected 1 to 100000 classes, found 100001"),
    ],
)
def test_bad_classes(classes: Any, message: str) -> None:
    with pytest.raises(DetectorError, match=f"^{message}$"):
        build_text(PLAIN, classes=classes)


def test_a_number_of_another_library() -> None:
    assert build_text(PLAIN, classes=np.int64(2)).names == ("class0", "class1")


def test_largest_stride_is_a_common_multiple() -> None:
    model = build_text(
        """
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, {c_out: 8, kernel: 3, stride: 6}]
  - [-3, 1, Conv, {c_out: 8, kernel: 3, stride: 6}]
head:
  - [[0, 2], 1, Detect, [nc, anchors]]
""",
        keys=KEYS.replace("64", "96"),
    )
    assert [row.stride for row in model.plan] == [4, 24, 6, 0]
    assert model.max_stride == 24


def test_rebuild_gives_the_same_network() -> None:
    model = build("yolov5_repvgg", ["a", "b"], "n")
    again = rebuild(model.definition)
    assert again.plan == model.plan
    assert again.names == ("a", "b")
    assert again.preprocess == model.preprocess
    again.load_state_dict(model.state_dict())


def test_deployed_network_cannot_be_trained() -> None:
    model = build_text(PLAIN).eval()
    model.deployed = True
    assert model.eval() is model
    with pytest.raises(DetectorError, match="^a deployed network cannot be trained: its branches"):
        model.train()


@pytest.mark.parametrize("name", ["yolov5n", "vovnet", "ssd300_vovnet27slim"])
def test_a_head_computes_in_float32_whatever_the_precision_of_the_rest(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, classes=3)
    inner: list[torch.dtype] = []
    watched = [m for row in model.rows[:-1] for m in row.modules() if isinstance(m, nn.Conv2d)]
    watched[-1].register_forward_hook(lambda *hooked: inner.append(hooked[-1].dtype))
    image = torch.rand(2, 3, *model.preprocess.size_hw if "ssd" in name else (64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        raw_outputs = model(image)
    assert inner == [torch.bfloat16]
    tensors = list(floats(raw_outputs))
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    torch.stack([tensor.sum() for tensor in tensors]).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in model.parameters())


def floats(raw_outputs: Any) -> Any:
    """Yield the tensors of a head's raw outputs."""
    if isinstance(raw_outputs, Tensor):
        yield raw_outputs
    else:
        for part in raw_outputs.values() if isinstance(raw_outputs, dict) else raw_outputs:
            yield from floats(part)


def test_run_empty_leaves_no_trace() -> None:
    model = build_text(PLAIN).train()
    model.rows[1].eval()  # as of a layer that is not trained
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shapes: dict[int, Any] = {}
    run_empty(model, (640, 320), lambda row, out: shapes.update({row.index: out}))
    assert shapes[2].shape == (1, 32, 80, 40)
    assert shapes[2].device.type == "meta"
    assert [module.training for module in model.modules()] == modes
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalize_equals_the_preprocessing_of_prediction(
    dtype: torch.dtype, order: str, rng: np.random.Generator
) -> None:
    model = build_text(PLAIN).to(dtype)
    of_model = {"mean_rgb": (123.0, 117.0, 104.0), "scale_rgb": (58.0, 57.0, 255.0)}
    of_model["channel_order"] = order
    model.preprocess = model.preprocess.model_copy(update=of_model)
    images = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    planes = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    found, expected = model.normalize(planes), model.preprocess.normalize(images)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found.float(), torch.from_numpy(expected))
    # (200 − 123) / 58, (0 − 117) / 57, 51 / 255 − 104 / 255
    pixel = model.normalize(torch.tensor([200, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1))
    by_hand = [77 / 58, -117 / 57, -53 / 255]
    np.testing.assert_allclose(
        pixel.flatten(), by_hand if order == "rgb" else by_hand[::-1], rtol=1e-6
    )


def test_normalize_no_images() -> None:
    model = build_text(PLAIN)
    assert model.normalize(torch.zeros((0, 3, 8, 8), dtype=torch.uint8)).shape == (0, 3, 8, 8)
