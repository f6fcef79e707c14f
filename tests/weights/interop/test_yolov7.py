"""YOLOv7's weights: the same outputs from their names, and every name of theirs has a place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.yolov5 import load_yolov5, read_yolov5
from detector.weights.interop.yolov7 import our_path, with_our_names
from detector.weights.transfer import start_from

MODEL = """
nc: 2
imgsz: 32
anchors: [[10, 13]]
backbone:
  - [-1, 1, RepConv, [8, 3, 1]]
  - [-1, 1, RepConv, [8, 3, 1]]
head:
  - [[-1], 1, IDetect, [nc, anchors]]
"""
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def repconv(c_in: int, c_out: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of models/common.py's RepConv; an identity where the widths are the same."""
    shapes: dict[str, tuple[int, ...]] = {
        "rbr_dense.0.weight": (c_out, c_in, 3, 3),
        "rbr_1x1.0.weight": (c_out, c_in, 1, 1),
    }
    for norm in ("rbr_dense.1", "rbr_1x1.1", *(["rbr_identity"] if c_in == c_out else [])):
        shapes |= {f"{norm}.{part}": (c_out,) if part != NORM[-1] else () for part in NORM}
    return shapes


def idetect(widths: list[int], outputs: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of models/yolo.py's IDetect, without the anchors."""
    shapes: dict[str, tuple[int, ...]] = {}
    for level, width in enumerate(widths):
        shapes |= {
            f"m.{level}.weight": (outputs, width, 1, 1),
            f"m.{level}.bias": (outputs,),
            f"ia.{level}.implicit": (1, width, 1, 1),
            f"im.{level}.implicit": (1, outputs, 1, 1),
        }
    return shapes


def prefixed(number: int, shapes: dict[str, Any]) -> dict[str, Any]:
    return {f"model.{number}.{name}": shape for name, shape in shapes.items()}


def small() -> Detector:
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), MODEL))).eval()


def norm(x: Tensor, state: dict[str, Tensor], path: str) -> Tensor:
    weight, bias, mean, variance = (state[f"{path}.{part}"] for part in NORM[:4])
    return F.batch_norm(x, mean, variance, weight, bias, eps=1e-3)


@torch.no_grad()
def test_outputs(
    random_state: Callable[..., Any], difference: Callable[..., float], tmp_path: Path
):
    state = random_state(
        prefixed(0, repconv(3, 8)) | prefixed(1, repconv(8, 8)) | prefixed(2, idetect([8], 7))
    )
    model = small()
    torch.save(state, tmp_path / "a.pt")
    report = start_from(model, tmp_path / "a.pt")
    assert (report.skipped, report.missing) == ({}, ("rows.2.anchors_wh",))

    x = images = torch.rand(1, 3, 32, 32)
    for row, widths in (("model.0", (3, 8)), ("model.1", (8, 8))):
        dense = F.conv2d(x, state[f"{row}.rbr_dense.0.weight"], padding=1)
        pointwise = F.conv2d(x, state[f"{row}.rbr_1x1.0.weight"])
        total = norm(dense, state, f"{row}.rbr_dense.1")
        total = total + norm(pointwise, state, f"{row}.rbr_1x1.1")
        if widths[0] == widths[1]:
            total = total + norm(x, state, f"{row}.rbr_identity")
        x = F.silu(total)
    x = F.conv2d(
        x + state["model.2.ia.0.implicit"], state["model.2.m.0.weight"], state["model.2.m.0.bias"]
    )
    expected = (x * state["model.2.im.0.implicit"]).view(1, 1, 7, 32, 32).permute(0, 1, 3, 4, 2)
    assert difference(model(images)[0], expected) < 1e-5


def test_all_of_yolov7_s_own_modules() -> None:
    """The last four rows of yolov7.yaml, which are the ones with names of their own."""
    model = build("yolov7", 80)
    shapes: dict[str, Any] = prefixed(105, idetect([256, 512, 1024], 255))
    for number, (c_in, c_out) in ((102, (128, 256)), (103, (256, 512)), (104, (512, 1024))):
        shapes |= prefixed(number, repconv(c_in, c_out))
    theirs = {name.replace("model", "rows", 1): torch.empty(s) for name, s in shapes.items()}
    found = {name: tensor.shape for name, tensor in with_our_names(theirs).items()}
    rows = tuple(f"rows.{number}." for number in range(102, 106))
    own = {name: t.shape for name, t in model.state_dict().items() if name.startswith(rows)}
    del own["rows.105.anchors_wh"]
    assert found == own


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("rows.3.conv", "rows.3.conv"),
        ("rows.3.rbr_1x1.0", "rows.3.pointwise"),
        ("rows.3.rbr_identity", "rows.3.identity_bn"),
        ("rows.3.rbr_dense.2", "rows.3.rbr_dense.2"),
        ("rows.3.rbr_dense.conv", "rows.3.conv"),
        ("rows.3.1.rbr_1x1.bn", "rows.3.1.pointwise_bn"),
        ("rows.13.10.nonlinearity", "rows.13.10.act"),
        ("rows.3.m.0.1.rbr_1x1.bn", "rows.3.m.0.1.rbr_1x1.bn"),
        ("stage1.0.rbr_dense.conv", "stage1.0.rbr_dense.conv"),  # RepVGG's own
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert our_path(path) == expected


def test_names_of_others_stay() -> None:
    state = {"fc": torch.ones(1), "ia.0.implicit": torch.ones(2), "a.ib.0.implicit": torch.ones(1)}
    assert with_our_names(state) == state


def test_a_pickled_network(write_yolov5: Callable[..., Path], network: Detector) -> None:
    """Row 3 under RepConv's names; the batch norm's ε is compared with it."""

    def change(model: nn.Module) -> None:
        row = model.get_submodule("model.3")
        row.add_module("rbr_dense", nn.Sequential(row.conv, row.bn))
        del row.conv, row.bn

    path = write_yolov5(change=change)
    assert read_yolov5(path).settings["rows.3.bn.eps"] == 1e-3
    found, expected = load_yolov5(path).state_dict(), network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Branches(nn.Module):
    """RepVGG's block under the names that its authors and forks of YOLOv5 use."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.rbr_dense = self.branch(nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False))
        self.rbr_1x1 = self.branch(nn.Conv2d(c_in, c_out, 1, stride, bias=False))
        self.rbr_identity = nn.BatchNorm2d(c_in, eps=1e-3) if stride == 1 else None
        self.nonlinearity = nn.SiLU()

    @staticmethod
    def branch(conv: nn.Conv2d) -> nn.Sequential:
        norm = nn.BatchNorm2d(conv.out_channels, eps=1e-3)
        return nn.Sequential(OrderedDict(conv=conv, bn=norm))

    def forward(self, x: Tensor) -> Tensor:
        total = self.rbr_dense(x) + self.rbr_1x1(x)
        return self.nonlinearity(
            total if self.rbr_identity is None else total + self.rbr_identity(x)
        )


@torch.no_grad()
def test_a_fork_with_repvgg_s_block(
    write_yolov5: Callable[..., Path], difference: Callable[..., float]
) -> None:
    """Batch norms have YOLOv5's ε instead of RepVGG's; one row has two blocks."""
    rows = nn.Sequential(Branches(8, 16, 2), nn.Sequential(*(Branches(16, 16, 1) for _ in "ab")))
    randomise_batch_norms(rows)
    rows.half().float().eval()

    def change(model: nn.Module) -> None:
        model.yaml["backbone"][3:5] = [
            [-1, 1, "RepVGGBlock", [32, 3, 2]],
            [-1, 6, "RepVGGBlock", [32]],
        ]
        inner = model.get_submodule("model")
        inner.add_module("3", rows[0])
        inner.add_module("4", rows[1])

    path = write_yolov5(change=change)
    model = load_yolov5(path)
    assert "  - [-1, 6, RepVGGBlock, {eps: 0.001, c_out: 32}]\n" in model.definition.text
    x = torch.randn(1, 8, 12, 12)
    rows.float()
    assert difference(model.rows[4](model.rows[3](x)), rows(x)) < 1e-5
    # A dictionary of its weights has the same names.
    torch.save({f"model.{name}": t for name, t in with_model_names(rows).items()}, path)
    other = build_model_file(check_model_file(YamlFile(Path("a.yaml"), model.definition.text)))
    assert len(start_from(other, path).loaded) == len(rows.state_dict())
    assert difference(other.eval().rows[4](other.rows[3](x)), rows(x)) < 1e-5


def with_model_names(rows: nn.Sequential) -> dict[str, Tensor]:
    """The state of what are rows 3 and 4."""
    return {f"{int(name[0]) + 3}{name[1:]}": tensor for name, tensor in rows.state_dict().items()}
