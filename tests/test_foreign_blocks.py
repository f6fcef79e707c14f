"""A block of someone else's package: found by its entry point, trained, exported, and broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from detector import registry
from detector.cli import run_tool
from detector.layers.repvgg import randomise_batch_norms
from detector.model.cost import cost
from detector.model.deploy import deploy
from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load

BLOCK = """
import torch
from torch import nn
from detector.layers.conv import Conv
from detector.registry import Width, register

@register("acme.Twice", channels=lambda arguments, c_in: 2 * arguments["c_out"], stride=lambda a: 2)
class Twice(nn.Module):
    def __init__(self, c_in: int, c_out: Width, factor: float = 1.0):
        super().__init__()
        self.a, self.b = Conv(c_in, c_out, 3, 2), Conv(c_in, c_out, 1, 2)
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return torch.cat((self.a(x), self.b(x) * self.factor), 1)
"""

MODEL = """\
nc: 2
imgsz: 64
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, acme.Twice, {c_out: 8, factor: 0.5}]
  - [-1, 2, acme.Twice, [16]]
head:
  - [[1, 2], 1, Detect, [nc, anchors]]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, and a model file in the working directory."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_loaded_entry_points", set())
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.delitem(sys.modules, "acme_blocks", raising=False)
    (tmp_path / "model.yaml").write_text(MODEL)
    return tmp_path


def install(folder: Path, block: str, entry: str = "twice = acme_blocks") -> None:
    """What ``pip install`` of a small package leaves behind."""
    (folder / "acme_blocks.py").write_text(block)
    info = folder / "acme_blocks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-blocks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[detector.modules]\n{entry}\n")


@pytest.mark.parametrize("entry", ["twice = acme_blocks", "any = acme_blocks:Twice"])
def test_block_of_another_package_is_found_by_its_entry_point(entry: str, site: Path) -> None:
    install(site, BLOCK, entry)
    model = build("model.yaml")
    assert [row.channels for row in model.plan] == [8, 16, 32, 0]
    assert [row.stride for row in model.plan] == [2, 4, 16, 0]  # twice stride 2 in row 2
    assert model.plan[1].arguments == {"c_out": 8, "factor": 0.5}
    maps = model(torch.rand(2, 3, 64, 64))
    sum((raw * torch.rand_like(raw)).sum() for raw in maps).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    randomise_batch_norms(model)
    fused, report = deploy(model)
    assert report.difference_fp64 <= 1e-10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_block_of_another_package_goes_through_the_tools(site: Path, tiny_data: Path) -> None:
    """Trained, its weights loaded, and fused into a file that needs the package no more."""
    install(site, BLOCK)
    words = "--cfg model.yaml --epochs 2 --batch 4 --nominal-batch 4 --device cpu --project runs"
    assert run_tool("train", [*words.split(), "--data", str(tiny_data), "--name", "acme"]) == 0
    factor = load("runs/acme/last.safetensors").rows[1].factor
    assert 0 < abs(float(factor.detach()) - 0.5) < 0.5
    weights = "--weights runs/acme/last.safetensors --output acme.onnx"
    assert run_tool("export", weights.split()) == 0
    assert (site / "acme.onnx").is_file()


@pytest.mark.parametrize(
    ("old", "new", "entry", "message"),
    [
        (
            "import torch\n",
            "import acme_missing\n",
            "twice = acme_blocks",
            "6: row 1: entry point 'twice' = 'acme_blocks' does not import: "
            "No module named 'acme_missing'",
        ),
        (
            "",
            "",
            "twice = acme_blocks:Thrice",
            "6: row 1: entry point 'twice' = 'acme_blocks:Thrice' does not import: "
            "module 'acme_blocks' has no attribute 'Thrice'",
        ),
        (
            "acme.Twice",
            "Conv",
            "twice = acme_blocks",
            "6: row 1: module name 'Conv' is registered twice: by detector.layers.conv and "
            "acme_blocks",
        ),
        (
            ", stride=lambda a: 2",
            "",
            "twice = acme_blocks",
            "6: row 1 (acme.Twice): does not run on 8 channels of 32×32: "
            "declares stride 1, makes 16 of 32 pixels",
        ),
        (
            "2 * arguments",
            "arguments",
            "twice = acme_blocks",
            "6: row 1 (acme.Twice): does not run on 8 channels of 32×32: "
            "declares 8 channels, gives 16",
        ),
        (
            'arguments["c_out"]',
            'arguments["width"]',
            "twice = acme_blocks",
            "6: row 1 (acme.Twice): KeyError: 'width'",
        ),
        (
            "super().__init__()",
            "raise IndexError",
            "twice = acme_blocks",
            "6: row 1 (acme.Twice): IndexError",
        ),
        (
            "return torch",
            "assert x is None, 'no\\nmaps'\n        return torch",
            "twice = acme_blocks",
            "6: row 1 (acme.Twice): does not run on 8 channels of 32×32: "
            "no (acme_blocks.py, line 15)",
        ),
    ],
)
def test_broken_package_is_one_line(
    old: str, new: str, entry: str, message: str, site: Path
) -> None:
    install(site, BLOCK.replace(old, new), entry)
    with pytest.raises(DetectorError) as caught:
        build("model.yaml")
    assert str(caught.value) == f"model.yaml:{message}"


ADVICE_ON_DEVICES = (
    "the block makes a tensor on a device of its own: write device=x.device where it is made, or "
    "register_buffer for a constant"
)
ADVICE_ON_VALUES = (
    "rows run without values to find sizes, and the block reads values (.item(), float(), "
    ".numpy(), `if` or a mask of a tensor): write torch.where, and sizes from x.shape"
)
NO_ITEM = "Tensor.item() cannot be called on meta tensors"
OTHER_DEVICE = "Tensor on device cpu is not on the expected device meta"


@pytest.mark.parametrize(
    ("line", "reason", "advice"),
    [
        ("x = x + torch.ones(1, 1, 1, 1)", OTHER_DEVICE, ADVICE_ON_DEVICES),
        ("x = torch.cat([x, torch.zeros(1, 1, 32, 32)], 1)", OTHER_DEVICE, ADVICE_ON_DEVICES),
        ("x = x * torch.linspace(0, 1, x.shape[-1])", OTHER_DEVICE, ADVICE_ON_DEVICES),
        ("x = x * x.mean().item()", NO_ITEM, ADVICE_ON_VALUES),
        ("x = x if x.max() > 0 else -x", NO_ITEM, ADVICE_ON_VALUES),
        ("x = x * float(x.norm())", NO_ITEM, ADVICE_ON_VALUES),
        (
            "x = torch.from_numpy(x.numpy()) + x",
            "can't convert meta device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first",
            ADVICE_ON_VALUES,
        ),
        (
            "x = x * x[0, 0, 0].tolist()[0]",
            "Cannot copy out of meta tensor; no data",
            ADVICE_ON_VALUES,
        ),
        ("x = x.cpu()", "Cannot copy out of meta tensor; no data", ADVICE_ON_VALUES),
        ("x = x.view(-1, 7)", "shape '[-1, 7]' is invalid for input of size 8192", None),
        ("x = nn.Conv2d(5, 4, 1, device=x.device)(x)", "Invalid channel dimensions", None),
        ("raise NotImplementedError", "NotImplementedError", None),
    ],
)
def test_block_that_does_not_run_is_told_what_to_write(
    line: str, reason: str, advice: str | None, site: Path
) -> None:
    install(site, BLOCK.replace("        return torch", f"        {line}\n        return torch"))
    with pytest.raises(DetectorError) as caught:
        build("model.yaml")
    place = f"{reason} (acme_blocks.py, line 15)"
    assert str(
        caught.value
    ) == "model.yaml:6: row 1 (acme.Twice): does not run on 8 channels of " + (
        f"32×32: {'; '.join(filter(None, (place, advice)))}"
    )


@pytest.mark.parametrize(
    ("line", "device"),
    [
        ("x = x + torch.ones(1, 1, 1, 1, device=x.device)", "device"),
        ("x = torch.where(x.amax() > 0, x, -x)", "where"),
    ],
)
def test_block_that_is_written_as_advised_is_built(line: str, device: str, site: Path) -> None:
    install(site, BLOCK.replace("        return torch", f"        {line}\n        return torch"))
    assert build("model.yaml")(torch.rand(1, 3, 64, 64))[0].shape[0] == 1


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("(x, x)", "gives a tuple, expected one feature map, (b, c, h, w)"),
        ("None", "gives a NoneType, expected one feature map, (b, c, h, w)"),
        ("x[0]", "gives 3 axes, expected 4: (b, c, h, w)"),
        ("self.a(x).repeat(1, 2, 2, 1)", "declares stride 2, makes 32 of 32 pixels"),
    ],
)
def test_block_that_returns_no_feature_map(returned: str, message: str, site: Path) -> None:
    install(
        site,
        BLOCK.replace(
            "return torch.cat((self.a(x), self.b(x) * self.factor), 1)", f"return {returned}"
        ),
    )
    with pytest.raises(DetectorError) as caught:
        build("model.yaml")
    assert str(caught.value) == (
        f"model.yaml:6: row 1 (acme.Twice): does not run on 8 channels of 32×32: {message}"
    )


def test_block_of_one_size_is_named_where_another_is_asked_for(site: Path) -> None:
    line = "x = x + torch.ones(1, 1, min(x.shape[-1], 32), 1, device=x.device)"
    model_file = site / "model.yaml"
    model_file.write_text(
        MODEL.replace("  - [-1, 2, acme.Twice, [16]]\n", "").replace("[[1, 2]", "[[0, 1]")
    )
    install(site, BLOCK.replace("        return torch", f"        {line}\n        return torch"))
    model = build("model.yaml")
    with pytest.raises(DetectorError) as caught:
        cost(model, (128, 128))
    assert str(caught.value) == (
        "model.yaml: row 1 (acme.Twice): does not run on 8 channels of 64×64: Attempting to "
        "broadcast a dimension of length 32 at -2! Mismatching argument at index 1 had "
        "torch.Size([1, 1, 32, 1]); but expected shape should be broadcastable to [1, 8, 64, 64] "
        "(acme_blocks.py, line 15)"
    )


def test_head_that_does_not_run_names_all_that_it_reads(site: Path, monkeypatch) -> None:
    install(site, BLOCK)

    def fail(self: nn.Module, features: list[torch.Tensor]) -> None:
        raise ValueError("no")

    monkeypatch.setattr(registry.contract("Detect").module, "forward", fail)
    with pytest.raises(DetectorError) as caught:
        build("model.yaml")
    assert str(caught.value) == (
        "model.yaml:9: row 3 (Detect): does not run on 16 channels of 16×16 and 32 channels of "
        "4×4: no"
    )
