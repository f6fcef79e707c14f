"""Code of the pages: Python compiles and names what exists, YAML loads, the head learns."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import detector
from detector import registry
from detector.cli import run_tool
from detector.data.dataset import open_dataset
from detector.engine.tasks import task_of
from detector.structures.boxes import iou
from detector.structures.samples import Targets
from tests.docs.pages import ROOT, TEXTS, Block, blocks, blocks_of, table_rows

PYTHON = blocks_of("python")
EXTEND = ROOT / "docs" / "extend.md"


def attributes(tree: ast.AST) -> Iterator[str]:
    """Yield the names behind ``detector.`` in expressions."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="detector"), attr=name):
                yield name


def check_names(tree: ast.AST) -> None:
    """Fail on names of ``detector`` and of its modules that do not exist."""
    for name in attributes(tree):
        assert name in detector.__all__, f"detector.{name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("detector"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_names_exist(block: Block) -> None:
    check_names(ast.parse(block.text, str(block)))


@pytest.mark.parametrize("code", ["detector.biuld('x')", "from detector import Prodictor"])
def test_names_that_do_not_exist_are_found(code: str) -> None:
    with pytest.raises(AssertionError, match=r"detector\.(biuld|Prodictor)"):
        check_names(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=code[:50])
        for file in TEXTS
        for row in table_rows(file)
        for code in re.findall(r"`(detector\.\w+)\(", " ".join(row))
    ],
)
def test_functions_in_tables_exist(code: str) -> None:
    assert code.removeprefix("detector.") in detector.__all__


@pytest.mark.parametrize("block", blocks_of("yaml"), ids=str)
def test_yaml_loads(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


# ------------------------------------------------------------------------------------------- run


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The head of the page as an installed package, and the folder that it is in."""
    head = next(block for block in blocks(EXTEND, "python") if "SmallHead" in block.text)
    (entry_point,) = blocks(EXTEND, "toml")
    (tmp_path / "acme_heads.py").write_text(head.text)
    info = tmp_path / "acme_heads-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-heads\nVersion: 1.0\n")
    group, line = re.fullmatch(r'\[.*"(.*)"\]\n(.*)\n', entry_point.text).groups()  # type: ignore[union-attr]
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_loaded_entry_points", set())
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.delitem(sys.modules, "acme_heads", raising=False)
    return tmp_path


def test_block_of_the_page() -> None:
    (block, *_) = blocks(EXTEND, "python")
    names: dict[str, object] = {"__name__": "acme_blocks"}
    exec(compile(block.text, str(block), "exec"), names)
    scale = names["Scale"](c_in=3, factor=2.0)  # type: ignore[operator]
    assert scale(torch.ones(1, 3, 2, 2)).sum() == 24


def test_head_has_about_forty_lines() -> None:
    head = next(block for block in blocks(EXTEND, "python") if "SmallHead" in block.text)
    assert sum(bool(line.strip()) for line in head.text.splitlines()) <= 42


def test_head_of_the_page_is_built_on_a_backbone(installed: Path) -> None:
    (model_file,) = blocks(EXTEND, "yaml")
    (installed / "small.yaml").write_text(model_file.text)
    model = detector.build("small.yaml")
    assert type(model.head).__name__ == "SmallHead"
    assert model.strides == (8, 16, 32)
    boxes_xyxy, scores = model.decode(model(torch.rand(1, 3, 160, 160)))
    assert boxes_xyxy.shape == (1, 525, 4)  # 20 · 20 + 10 · 10 + 5 · 5
    assert scores.shape == (1, 525, 4)


TINY = """
nc: 2
imgsz: 64
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [-1, 1, Conv, [32, 3, 2]]
  - [[2, 3], 1, SmallHead, [nc]]
"""


def test_head_of_the_page_learns(installed: Path) -> None:
    """Sixty steps on one object: the best box of its class lies on it."""
    (installed / "tiny.yaml").write_text(TINY)
    torch.manual_seed(0)
    model = detector.build("tiny.yaml")
    criterion = task_of(type(model.head)).criterion(model.head, (64, 64), None)
    images = torch.rand(1, 3, 64, 64)
    target = torch.tensor([[10.0, 20, 40, 50]])
    targets = Targets(target, torch.tensor([1]), torch.tensor([0]))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        sum(criterion(model.train()(images), targets).values()).backward()
        optimizer.step()
    boxes_xyxy, scores = model.decode(model(images))
    best = scores[0].max(1).values.argmax()
    assert scores[0, best].argmax() == 1
    assert iou(boxes_xyxy[0, best, None], target) > 0.8


def test_head_of_the_page_goes_through_the_tools(installed: Path, tiny_data: Path) -> None:
    (installed / "tiny.yaml").write_text(TINY)
    words = "--cfg tiny.yaml --epochs 1 --batch 4 --workers 0 --no-pictures --device cpu"
    words += f" --project runs --name small --data {tiny_data}"
    assert run_tool("train", words.split()) == 0
    export = "--weights runs/small/best.safetensors --output small.onnx"
    assert run_tool("export", export.split()) == 0
    assert detector.Predictor("small.onnx").names == ("red", "green")


def test_csv_of_the_page_is_read(work: Path) -> None:
    block = blocks(EXTEND, "python")[-1]
    data = work / "csv"
    shutil.copytree(work / "images", data / "images")
    os.chdir(data)
    exec(compile(block.text, str(block), "exec"), {})
    (sample,) = open_dataset(data, "train").samples
    assert sample.boxes_xyxy.tolist() == [[0, 0, 16, 16]]
