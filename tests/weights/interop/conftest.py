"""Weights of other projects: YOLOv5's checkpoints with their classes, and lists of names.

The classes of a checkpoint exist only while it is written.
"""

from __future__ import annotations

import copy
import itertools
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build, build_model_file
from detector.model.model_file import check_model_file, read_model_file
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.yolov5 import SETTINGS

CLASSES = 3
TINY = """
nc: 3
depth_multiple: 0.33
width_multiple: 0.5
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
backbone:
  - [-1, 1, Conv, [16, 6, 2, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 3, C3, [16]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, SPPF, [32, 5]]
head:
  - [-1, 1, Conv, [16, 1, 1]]
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, Concat, [1]]
  - [-1, 3, C3, [16, False]]
  - [[-1, 4], 1, Detect, [nc, anchors]]
"""
HEAD = "model.9"


@pytest.fixture(scope="session")
def network() -> Detector:
    """Network stored in the checkpoint."""
    return tiny_network()


def tiny_network() -> Detector:
    """Return a network whose weights half precision holds exactly."""
    model = build_model_file(check_model_file(YamlFile(Path("tiny.yaml"), TINY)))
    randomise_batch_norms(model)
    return model.half().float().eval()


@pytest.fixture
def write_yolov5(network: Detector, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a checkpoint; keyword arguments replace parts of it."""

    def write(name: str = "foreign.pt", **options: Any) -> Path:
        write_checkpoint(network, tmp_path / name, **options)
        return tmp_path / name

    return write


def write_checkpoint(
    network: Detector,
    path: Path,
    *,
    attributes: dict[str, Any] | None = None,
    change: Callable[[nn.Module], None] | None = None,
    wrap: Callable[[nn.Module], Any] = lambda model: {"epoch": -1, "ema": None, "model": model},
    **options: Any,
) -> None:
    """Write a network as a checkpoint of YOLOv5."""
    module = types.ModuleType("models.yolo")
    for word in ("Model", "Detect", "Block"):
        setattr(module, word, type(word, (nn.Module,), {"__module__": "models.yolo"}))
    sys.modules["models"], sys.modules["models.yolo"] = types.ModuleType("models"), module
    try:
        model = foreign_twin(network, module)
        for key, value in (attributes or {}).items():
            setattr(model, key, value)
        if change is not None:
            change(model)
        torch.save(wrap(model.half()), path, **options)
    finally:
        del sys.modules["models"], sys.modules["models.yolo"]


def foreign_twin(network: Detector, module: types.ModuleType) -> nn.Module:
    """Return a tree of other classes with the same weights under YOLOv5's names."""
    model: nn.Module = module.Model()
    modules: dict[str, nn.Module] = {"": model}
    for path, own in network.named_modules():
        if not path:
            continue
        name = path.replace("rows", "model", 1)
        parent, _, leaf = name.rpartition(".")
        modules[name] = copy.deepcopy(own) if leaf == "act" else module.Block()
        modules[parent].add_module(leaf, modules[name])
        for key in SETTINGS:
            if hasattr(own, key):
                setattr(modules[name], key, getattr(own, key))
        for key, value in own.named_parameters(recurse=False):
            modules[name].register_parameter(key, nn.Parameter(value.clone()))
        for key, value in own.named_buffers(recurse=False):
            modules[name].register_buffer(key, value.clone())
    detect = modules[HEAD]
    strides = torch.tensor(network.strides, dtype=torch.float32)
    detect.stride = strides
    anchors = detect.anchors_wh / strides.view(-1, 1, 1)
    del detect.anchors_wh
    detect.register_buffer("anchors", anchors)
    detect.register_buffer("anchor_grid", torch.full((2, 1, 3, 1, 1, 2), 7.0))
    model.yaml = {**YamlFile(Path("tiny.yaml"), TINY).value, "ch": 3, "inplace": True}
    model.names = [f"name{i}" for i in range(CLASSES)]
    return model


# --------------------------------------------------------------- names and shapes in other projects

Shapes = dict[str, tuple[int, ...]]
BRACES = re.compile(r"\{([^}]*)\}")
STATISTICS = {"bias": (-0.5, 0.5), "running_mean": (-0.5, 0.5), "running_var": (0.5, 1.5)}


@pytest.fixture(scope="session")
def shapes_of() -> Callable[[str], Shapes]:
    """A function that reads a list of ``fixtures/``."""

    def read(name: str) -> Shapes:
        text = (Path(__file__).parent / "fixtures" / f"{name}.txt").read_text()
        lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
        return {
            each: tuple(map(int, shape)) for pattern, *shape in lines for each in expanded(pattern)
        }

    return read


def expanded(pattern: str) -> list[str]:
    """Every name that a pattern with braces stands for."""
    result = []
    for words in itertools.product(*map(choices, BRACES.findall(pattern))):
        name = pattern
        for number, word in enumerate(words, 1):
            name = BRACES.sub(word, name, count=1).replace(f"${number}", word)
        result.append(name)
    return result


def choices(braces: str) -> list[str]:
    if ".." not in braces:
        return braces.split(",")
    first, last = map(int, braces.split(".."))
    return [str(number) for number in range(first, last + 1)]


@pytest.fixture(scope="session")
def random_state() -> Callable[[Shapes], dict[str, Tensor]]:
    """A function that draws weights which neither vanish nor grow, and statistics far from 0, 1."""

    def draw(shapes: Shapes) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        state = {}
        for name, shape in shapes.items():
            low, high = STATISTICS.get(name.rpartition(".")[2], (0.5, 1.5))
            if len(shape) > 1:
                high = (3 / torch.Size(shape[1:]).numel()) ** 0.5
                low = -high
            state[name] = low + (high - low) * torch.rand(shape, generator=generator)
            if name.endswith("num_batches_tracked"):
                state[name] = torch.tensor(7)
        return state

    return draw


@pytest.fixture(scope="session")
def difference() -> Callable[[Tensor, Tensor], float]:
    """A function: max |Δ| / max |expected|."""

    def measure(found: Tensor, expected: Tensor) -> float:
        assert found.shape == expected.shape
        assert expected.std() > 0
        return float((found.double() - expected.double()).abs().max() / expected.abs().max())

    return measure


@pytest.fixture(scope="session")
def build_changed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Detector]:
    """A function that builds a packaged model file, parts of its text replaced."""

    def make(
        cfg: str, changes: dict[str, str], classes: int, variant: str | None = None
    ) -> Detector:
        text = read_model_file(cfg).file.text
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path_factory.mktemp("cfg") / f"{cfg}.yaml"
        path.write_text(text)
        return build(path, classes, variant)

    return make
